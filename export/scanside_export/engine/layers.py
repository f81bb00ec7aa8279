"""The layers of an engine: from the builder's log or the engine's inspector, and what they say.

References
----------
TensorRT Developer Guide, "Engine Inspector" and "ONNX Layer Name Mapping" (``Metadata``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from scanside_export.engine.exchange import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["convolutions", "from_inspector", "from_log", "problems", "summary"]

_LINE: Final = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+)"
    r"(?:, Inputs: \[(?P<inputs>.*?)\](?=, (?:Constants|Outputs|TacticName): ))?"
    r"(?:, Constants: \[.*?\](?=, (?:Outputs|TacticName): ))?"
    r"(?:, Outputs: \[(?P<outputs>.*?)\](?=, TacticName: ))?"
    r"(?:, TacticName: (?P<tactic>[^,]*))?"
    r"(?:.*?, Metadata: (?P<metadata>.*))?$"
)
_DATATYPE: Final = re.compile(r"Datatype: (\w+)")
_MEMORY: Final = re.compile(r"Total (Activation|Weights) Memory: (\d+) bytes")
_NODE: Final = re.compile(r"\[ONNX Layer: (.+?)\](?=[\[\x1e\s]|$)")

_TYPES: Final = (
    ("UInt8", r"uint8"), ("Int8", r"int8"), ("Int32", r"int32"), ("Int64", r"int64"),
    ("Half", r"half|fp16|float16"), ("Float", r"float|fp32"), ("Bool", r"bool"),
)  # fmt: skip
"""How the inspector's formats name datatypes, first match first."""

_CONVOLUTION: Final = re.compile(r"correlation|conv", re.IGNORECASE)
_NO_WORK: Final = {"signal", "wait", "shape_call"}


def from_log(lines: Iterable[str]) -> tuple[tuple[Layer, ...], dict[str, int]]:
    """Return layers, and bytes by what they are for, from a builder's log.

    Parameters
    ----------
    lines
        TensorRT-RTX prints its layers there with `ProfilingVerbosity.DETAILED`.
    """
    layers: dict[str, Layer] = {}
    memory: dict[str, int] = {}
    for line in lines:
        if found := _MEMORY.search(line):
            name = {"Activation": "activations", "Weights": "weights"}[found[1]]
            memory[name] = max(memory.get(name, 0), int(found[2]))
        elif found := _LINE.match(line.strip()):
            layers[found["name"]] = Layer(
                name=found["name"],
                kind=found["kind"],
                inputs=tuple(_DATATYPE.findall(found["inputs"] or "")),
                outputs=tuple(_DATATYPE.findall(found["outputs"] or "")),
                tactic=found["tactic"] or "",
                nodes=tuple(dict.fromkeys(_NODE.findall(found["metadata"] or ""))),
            )
    return tuple(layers.values()), memory


def from_inspector(text: str) -> tuple[Layer, ...]:
    """Return the layers in what ``IEngineInspector`` gives as JSON.

    Parameters
    ----------
    text
        Of `get_engine_information`; a version that gives names alone gives layers without types.
    """
    return tuple(_inspected(entry) for entry in json.loads(text).get("Layers", []))


def _inspected(entry: Any) -> Layer:  # noqa: ANN401 - JSON
    if isinstance(entry, str):
        return Layer(name=entry, kind="unknown")
    name = str(entry.get("Name", ""))
    kind = str(entry.get("LayerType", "unknown"))
    parameters = str(entry.get("ParameterType", ""))
    # TensorRT 8.x has no metadata: fused layers are named by their nodes.
    nodes = _NODE.findall(str(entry.get("Metadata", ""))) or re.split(r" \+ |, ", name)
    return Layer(
        name=name,
        kind=parameters if _CONVOLUTION.search(parameters) else kind,
        inputs=tuple(_datatype(tensor) for tensor in entry.get("Inputs", [])),
        outputs=tuple(_datatype(tensor) for tensor in entry.get("Outputs", [])),
        tactic=str(entry.get("TacticName", "")),
        nodes=tuple(dict.fromkeys(nodes)),
    )


def _datatype(tensor: dict[str, Any]) -> str:
    said = str(tensor.get("Format/Datatype") or tensor.get("Datatype") or tensor.get("Format", ""))
    for name, pattern in _TYPES:
        if re.search(pattern, said, re.IGNORECASE):
            return name
    return said or "unknown"


def convolutions(layers: Iterable[Layer]) -> list[Layer]:
    """Return the layers that are convolutions."""
    return [layer for layer in layers if _CONVOLUTION.search(layer.kind)]


def summary(layers: Iterable[Layer]) -> dict[str, int]:
    """Return the number of kernels by kind and datatypes: ``convolution Int8 -> Half``.

    Parameters
    ----------
    layers
        Of an engine; those that only wait for others are left out.
    """
    counted = Counter(
        f"{'convolution' if _CONVOLUTION.search(layer.kind) else layer.kind}"
        f" {_named(layer.inputs)} -> {_named(layer.outputs)}"
        for layer in layers
        if layer.kind not in _NO_WORK
    )
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _named(datatypes: tuple[str, ...]) -> str:
    return "/".join(sorted(set(datatypes))) or "?"


def problems(layers: Sequence[Layer], meant: Sequence[str], *, no_float: bool) -> tuple[str, ...]:
    """Say what of an INT8 engine is not as it was meant.

    Parameters
    ----------
    layers
        Of the engine.
    meant
        ONNX nodes whose inputs are dequantised: they are meant to compute in INT8.
    no_float
        Whether no convolution should write float32.

    Returns
    -------
    tuple of str
        A sentence for each node; nothing if all is well.
    """
    if not any(layer.inputs for layer in layers):
        return (
            ("the library told no datatypes: whether layers compute in INT8 is not known",)
            if meant
            else ()
        )
    found = []
    for node in meant:
        mine = [layer for layer in layers if node in layer.nodes]
        worked = convolutions(mine) or mine
        if not worked:
            found.append(f"{node} was meant to be INT8 and is in no layer by its name")
        elif not any("Int8" in layer.inputs for layer in worked):
            types = _named(tuple(name for layer in worked for name in layer.inputs))
            found.append(f"{node} was meant to be INT8 and computes in {types}")
    if no_float:
        found += [
            f"{layer.name} is a convolution that writes Float"
            for layer in convolutions(layers)
            if "Float" in layer.outputs
        ]
    return tuple(found)
