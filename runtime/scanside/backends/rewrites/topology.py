"""Who makes and who reads each tensor of a graph, and what the rewrites ask about it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside.onnxtensor import make_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scanside.onnxgraph import Graph, Node

__all__ = [
    "Pair",
    "Topology",
    "add_constant",
    "fresh_name",
    "is_op",
    "is_zero_pad",
    "remove_unread",
]

_ONNX: Final = {"", "ai.onnx"}
_PASSING: Final = frozenset(
    {"AveragePool", "GlobalAveragePool", "MaxPool", "Reshape", "Squeeze", "Transpose"}
)
"""Operators that pass values on, or average them."""

_QUANTIZE_INPUTS: Final = 3


class Pair(NamedTuple):
    """A QuantizeLinear with the DequantizeLinear nodes behind it, per tensor, zero point given.

    Attributes
    ----------
    quantize, dequantize
        The nodes; at least one of the latter.
    scale
        The scale, float32.
    zero_point
        The zero point, int8 or uint8.
    """

    quantize: Node
    dequantize: tuple[Node, ...]
    scale: np.float32
    zero_point: np.int8 | np.uint8

    def same_numbers(self, other: Pair) -> bool:
        """Return whether both round alike."""
        return (self.scale, self.zero_point, self.zero_point.dtype) == (
            other.scale,
            other.zero_point,
            other.zero_point.dtype,
        )


class Topology:
    """Producers and readers of a graph's tensors, as they were when this was made.

    Parameters
    ----------
    graph
        A graph without nested ones.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph: Final = graph
        self.producers: Final = {name: node for node in graph.nodes for name in node.outputs}
        self.readers: Final[defaultdict[str, list[Node]]] = defaultdict(list)
        for node in graph.nodes:
            for name in node.inputs:
                self.readers[name].append(node)
        self._nonnegative: dict[str, bool] = {}

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return a constant's values; None for what is computed, fed in, or of another type."""
        tensor = self.graph.constants.get(name)
        # A constant that is an input as well may be replaced by the caller.
        return None if tensor is None or name in self.graph.inputs else tensor.array()

    def scalar(self, name: str) -> Any:  # noqa: ANN401
        """Return a constant of one value as a numpy scalar, else None."""
        values = self.constant(name)
        return values.reshape(-1)[0] if values is not None and values.shape in {(), (1,)} else None

    def sole_reader(self, node: Node, op_type: str) -> Node | None:
        """Return the one node that reads a node's one output, if it is of this type."""
        if len(node.outputs) != 1 or node.outputs[0] in self.graph.outputs:
            return None
        readers = self.readers[node.outputs[0]]
        return readers[0] if len(readers) == 1 and is_op(readers[0], op_type) else None

    def producer(self, name: str, op_type: str) -> Node | None:
        """Return the node that makes a tensor, if it is of this type."""
        node = self.producers.get(name)
        return node if node is not None and is_op(node, op_type) else None

    def pairs(self) -> Iterator[Pair]:
        """Yield the quantised activations that nothing but DequantizeLinear nodes read."""
        for node in self.graph.nodes:
            if (pair := self.pair(node)) is not None:
                yield pair

    def pair(self, node: Node) -> Pair | None:
        """Return the pair that begins with this node, if one does."""
        if not is_op(node, "QuantizeLinear") or len(node.inputs) != _QUANTIZE_INPUTS:
            return None
        if node.outputs[0] in self.graph.outputs or node.get("output_dtype"):
            return None
        found = tuple(self.readers[node.outputs[0]])
        scale, zero_point = (self.scalar(name) for name in node.inputs[1:])
        if not found or not all(self._undoes(reader, node, scale, zero_point) for reader in found):
            return None
        if not isinstance(scale, np.float32) or not isinstance(zero_point, (np.int8, np.uint8)):
            return None
        return Pair(node, found, scale, zero_point)

    def rounding(self, name: str) -> Pair | None:
        """Return the pair whose DequantizeLinear makes a tensor, if one does."""
        last = self.producer(name, "DequantizeLinear")
        first = None if last is None else self.producer(last.inputs[0], "QuantizeLinear")
        return None if first is None else self.pair(first)

    def _undoes(self, reader: Node, node: Node, scale: object, zero_point: object) -> bool:
        if not is_op(reader, "DequantizeLinear") or len(reader.inputs) != _QUANTIZE_INPUTS:
            return False
        if reader.inputs[0] != node.outputs[0]:
            return False
        held = [self.scalar(name) for name in reader.inputs[1:]]
        return bool(held[0] == scale and held[1] == zero_point)

    def nonnegative(self, name: str) -> bool:
        """Return whether a tensor's values can't be negative, whatever the input.

        That is so behind a Relu or a Sigmoid, and behind nodes that only pass on, average or
        interpolate such values.
        """
        # Walked without recursion: a graph may be deep. Producers come first in the file.
        if not self._nonnegative:
            for node in self.graph.nodes:
                verdict = self._is_nonnegative(node)
                self._nonnegative.update(dict.fromkeys(node.outputs, verdict))
        return self._nonnegative.get(name, False)

    def _is_nonnegative(self, node: Node) -> bool:
        if node.domain not in _ONNX or len(node.outputs) != 1 or not node.inputs:
            return False
        if node.op_type in {"Relu", "Sigmoid"}:
            return True
        if node.op_type == "Concat":
            return all(self._nonnegative.get(name, False) for name in node.inputs)
        if node.op_type == "DequantizeLinear":
            # Integers in between say nothing of the sign; the values around them do.
            pair = self.rounding(node.outputs[0])
            return pair is not None and self._nonnegative.get(pair.quantize.inputs[0], False)
        return self._passes_on(node) and self._nonnegative.get(node.inputs[0], False)

    def _passes_on(self, node: Node) -> bool:
        if node.op_type == "Resize":
            return node.get("mode", b"nearest") != b"cubic" and not node.get("extrapolation_value")
        if node.op_type == "Pad":
            return is_zero_pad(node, self)
        return node.op_type in _PASSING


def is_op(node: Node, op_type: str) -> bool:
    """Return whether a node is of one of ONNX's own operators."""
    return node.op_type == op_type and node.domain in _ONNX


def is_zero_pad(node: Node, topology: Topology) -> bool:
    """Return whether a Pad adds zeros around all that it reads (opset 11 or later)."""
    if node.get("mode", b"constant") != b"constant" or len(node.inputs) < 2:  # noqa: PLR2004
        return False
    given = [name for name in node.inputs[2:3] if name]
    return all(topology.scalar(name) is not None and topology.scalar(name) == 0 for name in given)


def fresh_name(graph: Graph, name: str) -> str:
    """Return a name that no tensor of a graph has: this one if it is free."""
    taken = {*graph.constants, *graph.inputs, *(o for n in graph.nodes for o in n.outputs)}
    while name in taken:
        name += "_"
    return name


def add_constant(graph: Graph, name: str, values: NDArray[Any]) -> str:
    """Add a constant to a graph and return its name, which is this one if it is free."""
    free = fresh_name(graph, name)
    graph.constants[free] = make_tensor(free, values)
    return free


def remove_unread(graph: Graph, names: set[str]) -> None:
    """Remove those of the constants that no node reads any more."""
    read = {name for node in graph.nodes for name in node.inputs}
    for name in names - read - {*graph.inputs, *graph.outputs}:
        graph.constants.pop(name, None)
