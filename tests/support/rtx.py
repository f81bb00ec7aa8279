"""Models compiled by the real TensorRT-RTX compiler, with the datatypes of their kernels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import onnx

from scanside_calibration.half.convert import convert
from scanside_calibration.half.graphs import read_float_graph
from scanside_calibration.int8.placement import activations, quantise
from scanside_export.engine.exchange import Built, Request, Settings
from scanside_export.engine.layers import convolutions
from scanside_export.engine.process import Limits, run_child, worker_command
from scanside_export.engine.typed import with_half

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

AMAX = 6.0
"""A range for every activation: datatypes do not depend on it."""

_SECONDS = 600.0


class Compiled(NamedTuple):
    """An engine, and the model that it is of.

    Attributes
    ----------
    built
        What the builder tells.
    content
        The model in the form of the bundle.
    plan
        The engine.
    """

    built: Built
    content: bytes
    plan: bytes

    @property
    def types(self) -> Counter[tuple[str, str]]:
        """Number of convolutions by the datatypes that they read and write."""
        return Counter(
            ("/".join(sorted(set(layer.inputs))), "/".join(sorted(set(layer.outputs))))
            for layer in convolutions(self.built.layers)
        )

    @property
    def reads(self) -> Counter[str]:
        """Number of convolutions and matrix products by the datatypes that they read.

        TensorRT-RTX 1.7 computes some convolutions of one pixel as matrix products in FP16: in
        kernels of the kind ``gemm``, or fused ones named after a fully connected layer.
        """
        layers = self.built.layers
        products = [n for n in layers if n.kind == "gemm" or n.name.startswith("__myl_Fc")]
        return Counter("/".join(sorted(set(n.inputs))) for n in (*convolutions(layers), *products))


class Compiler:
    """Compiles as `scanside build --target rtx` does, in a child process.

    Parameters
    ----------
    library
        Folder with TensorRT-RTX, for ``PYTHONPATH``.
    folder
        Scratch.
    patch
        Sets the child's environment.
    """

    def __init__(self, library: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        patch.setenv("PYTHONPATH", str(library))

    def __call__(
        self,
        content: bytes,
        precision: Any,
        *,
        typed: bytes | None = None,
        capabilities: tuple[str, ...] = ("8.6",),
    ) -> Compiled:
        """Compile a model; `typed` is the graph that gives the types where it is another one."""
        files = {name: self._folder / name for name in ("typed", "flagged", "plan", "timing")}
        files["typed"].write_bytes(content if typed is None else typed)
        files["flagged"].write_bytes(content)
        settings = Settings(
            target="rtx", precision=precision, profile=(1, 1, 4), capabilities=capabilities
        )
        request = Request(settings=settings, **{name: str(file) for name, file in files.items()})
        asked = msgspec.json.encode(request)
        outcome = run_child(worker_command("rtx"), asked, Limits(_SECONDS), lambda _: None)
        assert isinstance(outcome.result, Built)
        return Compiled(outcome.result, content, files["plan"].read_bytes())

    def int8(self, content: bytes) -> Compiled:
        """Compile an INT8 model with FP16 around it."""
        return self(content, "int8", typed=with_half(content, scale_after=True))


def quantised(content: bytes) -> bytes:
    """Return a float model in INT8, placed as `scanside calibrate` does it."""
    model = onnx.load_from_string(content)
    return quantise(model, dict.fromkeys(activations(model), AMAX)).SerializeToString()


def halved(content: bytes) -> bytes:
    """Return a float model in FP16, all of it."""
    model = onnx.load_from_string(content)
    return convert(model, read_float_graph(model), {}).SerializeToString()


def convolution_nodes(content: bytes) -> int:
    """Return how many convolutions a model has."""
    return sum(node.op_type == "Conv" for node in onnx.load_from_string(content).graph.node)
