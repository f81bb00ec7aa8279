"""The graph's face: names and axes of input and output, the one scaling, the stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import numpy_helper

from scanside_export.rewrites.editing import (
    constants,
    consumers,
    copied,
    free_name,
    key,
    output_names,
    set_nodes,
    tensor_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = [
    "BATCH",
    "OFFSET",
    "SCALE",
    "SCOPE",
    "TO_NCHW",
    "canonical_scaling",
    "name_interface",
    "stamp",
]

BATCH: Final = "batch"
"""Name of the dynamic axis."""

SCALE: Final = 1 / 128
OFFSET: Final = -1.0
"""``x * SCALE + OFFSET`` is ``(x - 128) / 128``: every step is exact in float32 and in float16,
so that the uint8 tensor is the quantised input (scale 1/128)."""

TO_NCHW: Final = (0, 3, 1, 2)

SCOPE: Final = "scale"
"""What the nodes of the scaling are named after."""


def name_interface(model: ModelProto, *, source: str, output: str) -> ModelProto:
    """Name the graph's input and output, and their first axis `BATCH`.

    Parameters
    ----------
    model
        A model with one input and one output.
    source, output
        Their names to be.
    """
    model = copied(model)
    graph = model.graph
    for value, wanted in ((graph.input[0], source), (graph.output[0], output)):
        old = value.name
        for node in graph.node:
            node.input[:] = [wanted if name == old else name for name in node.input]
            node.output[:] = [wanted if name == old else name for name in node.output]
        value.name = wanted
        value.doc_string = ""
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        dim.dim_param = BATCH
    graph.ClearField("value_info")
    return model


def canonical_scaling(model: ModelProto) -> ModelProto:
    """Bring the scaling of the input into its one form: Cast, Mul by 1/128, Add -1.

    ``(x - 128) / 128`` can be written in several ways. Any chain of steps with a constant that
    gives exactly these 256 values is replaced; another one is left for the check to name.
    """
    model = copied(model)
    graph = model.graph
    chain = _scaling(graph)
    values = _evaluated(chain, constants(graph)) if chain else None
    wanted = (np.arange(256, dtype=np.float64) - 128) / 128
    if not chain or values is None or not np.array_equal(values, wanted.astype(np.float32)):
        return model
    taken = tensor_names(graph)
    made = _scaling_nodes(graph, chain[-1].output[0], taken)
    for node in consumers(graph)[chain[-1].output[0]]:
        if node.op_type == "Transpose":
            node.name = f"{SCOPE}/Transpose"
    gone = {key(node) for node in chain}
    set_nodes(graph, made + [node for node in graph.node if key(node) not in gone])
    return model


def stamp(
    model: ModelProto, *, version: str, name: str, properties: Mapping[str, str]
) -> ModelProto:
    """Say in the file what made it and what it is.

    Parameters
    ----------
    model
        The model.
    version
        Version of scanside.
    name
        Name of the graph.
    properties
        What else the file says of itself (``metadata_props``).
    """
    model = copied(model)
    model.producer_name, model.producer_version = "scanside", version
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    model.graph.name, model.graph.doc_string = name, ""
    model.doc_string = ""
    for node in model.graph.node:
        node.ClearField("doc_string")
    model.ClearField("metadata_props")
    onnx.helper.set_model_props(model, dict(properties))
    return model


def _scaling(graph: GraphProto) -> list[NodeProto]:
    """Return the Cast of the input and the steps with a scalar constant that follow it."""
    readers, known, outputs = consumers(graph), constants(graph), output_names(graph)
    chain: list[NodeProto] = []
    tensor = graph.input[0].name
    while len(readers[tensor]) == 1 and tensor not in outputs:
        node = readers[tensor][0]
        steps = ("Cast",) if not chain else ("Add", "Sub", "Mul", "Div")
        others = [name for name in node.input if name != tensor]
        if node.op_type not in steps or not all(_scalar(known.get(name)) for name in others):
            break
        chain.append(node)
        tensor = node.output[0]
    return chain


def _scalar(value: NDArray[np.generic] | None) -> bool:
    return value is not None and value.size == 1


def _evaluated(
    chain: list[NodeProto], known: dict[str, NDArray[np.generic]]
) -> NDArray[np.float32] | None:
    """Return what a chain makes of the values 0 to 255, if it computes in float32."""
    to = next(entry.i for entry in chain[0].attribute if entry.name == "to")
    if to != onnx.TensorProto.FLOAT:
        return None
    values = np.arange(256, dtype=np.float32)
    tensor = chain[0].output[0]
    functions = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
    for node in chain[1:]:
        first, second = (
            values if name == tensor else known[name].reshape(()) for name in node.input
        )
        values = np.asarray(functions[node.op_type](first, second), np.float32)
        tensor = node.output[0]
    return values


def _scaling_nodes(graph: GraphProto, output: str, taken: set[str]) -> list[NodeProto]:
    names = [f"{SCOPE}/{what}" for what in ("Cast", "Mul", "Add")]
    tensors = [*(free_name(f"{name}_output", taken) for name in names[:2]), output]
    scalars = [free_name(f"{SCOPE}/{what}", taken) for what in ("factor", "offset")]
    for name, value in zip(scalars, (SCALE, OFFSET), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return [
        onnx.helper.make_node(
            "Cast", [graph.input[0].name], tensors[:1], names[0], to=onnx.TensorProto.FLOAT
        ),
        onnx.helper.make_node("Mul", [tensors[0], scalars[0]], tensors[1:2], names[1]),
        onnx.helper.make_node("Add", [tensors[1], scalars[1]], tensors[2:], names[2]),
    ]
