"""What an INT8 file must be for TensorRT to accept it and the CPU to run it in integers.

TensorRT refuses zero points other than 0, unsigned activations, int32 biases behind a
DequantizeLinear and the QLinear operators; the rest of the rules keep the file small and the
integer kernels in use. Nothing ships without passing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx

from scanside.errors import BundleError
from scanside_calibration.int8.topology import WEIGHT_AXIS, Topology

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from onnx import ModelProto, NodeProto

__all__ = ["check_int8", "find_violations"]

_INTEGER_NODES: Final = ("QLinear", "DynamicQuantize", "ConvInteger", "MatMulInteger", "QGemm")
"""How the operators begin that hold quantisation in themselves instead of in Q/DQ pairs."""

_OPSET: Final = 13
"""The first with one scale a channel."""

_FLOAT_SHARE: Final = 0.25
"""Biases and scales are some 2 % of a ResNet-50's bytes, 5 % of a quarter-width one's."""

_FLOAT_BYTES: Final = 1 << 16
"""Where models are so small that the share says nothing."""

_PAIR_INPUTS: Final = 3


def check_int8(model: ModelProto, *, float_nodes: Collection[str] = ()) -> None:
    """Refuse a quantised model that is not of this project's placement.

    Parameters
    ----------
    model
        The quantised ONNX model.
    float_nodes
        The nodes that were kept float on purpose.

    Raises
    ------
    BundleError
        If a rule is broken; the message names every place.
    """
    if found := find_violations(model, float_nodes=float_nodes):
        raise BundleError(
            f"the INT8 model breaks the rules in {len(found)} places",
            accepted="symmetric int8 Q/DQ, zero point 0, int8 weights with one scale a channel",
            remedy="calibrate the bundle again with scanside calibrate",
            places=found,
        )


def find_violations(model: ModelProto, *, float_nodes: Collection[str] = ()) -> list[str]:
    """Return every rule that a quantised model breaks.

    Parameters
    ----------
    model, float_nodes
        As in `check_int8`.

    Returns
    -------
    list of str
        One sentence each; empty for a model that may ship.
    """
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return [f"the constant {tensor.name} lies outside the file"]
    rules = _Rules(model, frozenset(float_nodes))
    return [*rules.file(), *rules.names(), *rules.nodes(), *rules.constants(), *rules.checker()]


class _Rules:
    def __init__(self, model: ModelProto, float_nodes: frozenset[str]) -> None:
        self._model = model
        self._graph = model.graph
        self._float_nodes = float_nodes
        self._topology = Topology(model)
        self._held = self._topology.constants

    def file(self) -> Iterator[str]:
        for entry in self._model.opset_import:
            if entry.domain not in ("", "ai.onnx"):
                yield f"the custom operator set {entry.domain!r} is declared"
            elif entry.version < _OPSET:
                yield f"the opset is {entry.version}, not {_OPSET} or later"
        if not any(node.op_type == "QuantizeLinear" for node in self._graph.node):
            yield "nothing is quantised"

    def names(self) -> Iterator[str]:
        known = {node.name for node in self._graph.node}
        for name in sorted(self._float_nodes - known):
            yield f"the node {name}, to be kept float, is not there"

    def nodes(self) -> Iterator[str]:
        rules = {
            "QuantizeLinear": self._quantize,
            "DequantizeLinear": self._dequantize,
            "Conv": self._weighted,
            "MatMul": self._matrix,
            "Add": self._addition,
        }
        for node in self._graph.node:
            if node.domain not in ("", "ai.onnx"):
                yield f"{_of(node)}: the custom domain {node.domain!r}"
            if node.op_type.startswith(_INTEGER_NODES):
                yield f"{_of(node)}: only QuantizeLinear and DequantizeLinear may quantise"
            elif node.name in self._float_nodes:
                yield from self._float(node)
            elif node.op_type in rules:
                yield from rules[node.op_type](node)

    def _quantize(self, node: NodeProto) -> Iterator[str]:
        if node.input[0] in self._held:
            yield f"{_of(node)}: it quantises the constant {node.input[0]}: store it as int8"
        pairs = [
            reader
            for reader in self._topology.readers[node.input[0]]
            if reader.op_type == "QuantizeLinear"
        ]
        if len(pairs) > 1 and pairs[0].output[0] == node.output[0]:
            yield f"{_of(node)}: {node.input[0]} is quantised {len(pairs)} times"
        scales = self._held.get(node.input[1])
        if scales is not None and scales.size != 1:
            yield f"{_of(node)}: {scales.size} scales for an activation, not one"
        yield from self._parameters(node)

    def _dequantize(self, node: NodeProto) -> Iterator[str]:
        source, stored = self._topology.producers.get(node.input[0]), self._held.get(node.input[0])
        if stored is not None:
            if stored.dtype != np.int8:
                yield f"{_of(node)}: the constant {node.input[0]} is {stored.dtype}, not int8"
            elif np.any(stored == np.iinfo(np.int8).min):
                yield f"{_of(node)}: the constant {node.input[0]} has -128: not symmetric"
        elif source is None or source.op_type != "QuantizeLinear":
            yield f"{_of(node)}: it reads neither an int8 constant nor a QuantizeLinear"
        elif not self._same(source.input[1], node.input[1]):
            yield f"{_of(node)}: its scale is not that of {source.name}"
        yield from self._parameters(node)

    def _parameters(self, node: NodeProto) -> Iterator[str]:
        scales = self._held.get(node.input[1])
        if scales is None or scales.dtype != np.float32:
            yield f"{_of(node)}: its scale is not a float32 constant"
        elif not (np.isfinite(scales) & (scales > 0)).all():
            yield f"{_of(node)}: its scale is not finite and above 0"
        zero = self._held.get(node.input[2]) if len(node.input) == _PAIR_INPUTS else None
        if zero is None or zero.dtype != np.int8:
            kind = "missing" if zero is None else str(zero.dtype)
            yield f"{_of(node)}: its zero point is {kind}, not an int8 constant"
        elif zero.any():
            yield f"{_of(node)}: its zero point is not 0"

    def _matrix(self, node: NodeProto) -> Iterator[str]:
        if self._from(node.input[1]) in ("", "DequantizeLinear"):  # else both are computed
            yield from self._weighted(node)

    def _weighted(self, node: NodeProto) -> Iterator[str]:
        for name in node.input[:2]:
            if self._from(name) != "DequantizeLinear":
                yield f"{_of(node)}: its input {name} is not quantised"
        for name in node.input[2:]:
            if name and name not in self._held:
                yield f"{_of(node)}: its bias {name} is not a float constant"
        if self._from(node.input[1]) == "DequantizeLinear":
            yield from self._weight(node, self._topology.producers[node.input[1]])

    def _weight(self, node: NodeProto, dequantize: NodeProto) -> Iterator[str]:
        values, scales = (self._held.get(name) for name in dequantize.input[:2])
        axis = WEIGHT_AXIS[node.op_type]
        if values is None:
            yield f"{_of(node)}: its weight is not stored as int8"
        elif scales is not None and (
            _axis(dequantize) != axis or scales.shape != (values.shape[axis],)
        ):
            yield f"{_of(dequantize)}: not one scale for each channel of axis {axis}"

    def _addition(self, node: NodeProto) -> Iterator[str]:
        sides = [
            self._from(name) == "DequantizeLinear" for name in node.input if name not in self._held
        ]
        if len(set(sides)) > 1:
            yield f"{_of(node)}: one input is quantised, the other is not"

    def _float(self, node: NodeProto) -> Iterator[str]:
        for name in node.input:
            if self._from(name) == "DequantizeLinear":
                yield f"{_of(node)}: to be kept float, it reads {name}"

    def constants(self) -> Iterator[str]:
        floats = int8 = 0
        for tensor in self._graph.initializer:
            readers = self._topology.readers[tensor.name]
            if not readers:
                yield f"the constant {tensor.name} is not used"
            size = self._held[tensor.name].nbytes
            if tensor.data_type == onnx.TensorProto.INT8:
                int8 += size
            elif not any(node.name in self._float_nodes for node in readers):
                floats += size
        if floats > max(_FLOAT_SHARE * int8, _FLOAT_BYTES):
            yield (
                f"{floats} bytes of constants are not int8, against {int8} that are: weights are"
                " stored as float"
            )

    def checker(self) -> Iterator[str]:
        try:
            onnx.checker.check_model(self._model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            yield f"onnx.checker: {error}"

    def _from(self, tensor: str) -> str:
        maker = self._topology.producers.get(tensor)
        return "" if maker is None else str(maker.op_type)

    def _same(self, one: str, other: str) -> bool:
        first, second = (self._held.get(name) for name in (one, other))
        return first is not None and second is not None and np.array_equal(first, second)


def _axis(node: NodeProto) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "axis"), 1)


def _of(node: NodeProto) -> str:
    return f"{node.name or '(unnamed)'} ({node.op_type})"
