"""INT8 with FP16 around it: the graph from which a strongly typed engine takes its types.

A bundle's INT8 file computes in float32 wherever it does not compute in INT8: ONNX Runtime wants
it so, and opset 17 has no FP16 scales. A strongly typed builder would take those types as they
are, and convolutions would write float32. Here everything from the image to the last Sigmoid
becomes FP16; the Sigmoid, and what only rearranges its result, stay float32.

TensorRT-RTX 1.7 lets a convolution with a weight scale for each channel write float32 whatever
type the scales have, and FP16 with one scale for all: for it the channels' scales are taken out
of the weight and multiplied after the convolution. TensorRT folds them in by itself.

References
----------
ONNX operators, QuantizeLinear-19 and DequantizeLinear-19: scales in float16.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside.errors import BundleError
from scanside.onnxgraph import Node, attribute, make_node, read_graph
from scanside.onnxtensor import make_tensor
from scanside_export.engine.declared import raise_opset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scanside.onnxgraph import Graph

__all__ = ["DERIVATION", "OPSET", "with_half"]

DERIVATION: Final = "1"
"""Raised with every change of what `with_half` makes: engines from before do not fit then."""

OPSET: Final = 19
"""The first operator set in which scales may be FP16."""

_FLOAT, _HALF = 1, 10
"""Types of elements, as ONNX numbers them."""

_HALF_MAX: Final = 65504.0
_SMALLEST_SCALE: Final = 2.0**-14
"""FP16's smallest number of full precision: smaller ones lose bits, or are 0."""

_LEVELS: Final = 127

_KNOWN: Final = frozenset({
    "Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "DequantizeLinear",
    "Div", "Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu",
    "MatMul", "MaxPool", "Mul", "Pad", "QuantizeLinear", "Relu", "Reshape", "Resize", "Sigmoid",
    "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that mean the same in opset 17 and 19, and whose floats may all be FP16."""

_REARRANGING: Final = frozenset({
    "Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
_ALWAYS_FLOAT: Final = {"Resize": (1, 2)}
"""Inputs that ONNX, or TensorRT's parser, takes in float32 only: Resize's region and scales."""

_RATIO: Final = 1024.0
"""Largest quotient of two channels' scales where they are multiplied after the convolution. What
it writes is that much smaller then, and still finer in FP16 than a quantised step."""


def with_half(content: bytes, *, scale_after: bool = False) -> bytes:
    """Return an INT8 model with FP16 in place of float32.

    Parameters
    ----------
    content
        An ONNX file with QuantizeLinear and DequantizeLinear, uint8 in, float32 out.
    scale_after
        Whether the scales of a convolution's channels are multiplied after it.

    Returns
    -------
    bytes
        An ONNX file of opset 19 or later with the same inputs and outputs; names stay.

    Raises
    ------
    BundleError
        If the model has operators, or numbers, that can't be taken over.
    """
    graph = read_graph(content)
    _check(graph)
    tail = _tail(graph)
    made: list[Node] = []
    writer = _Writer(graph, _channelwise(graph) if scale_after else {})
    for node in graph.nodes:
        made += writer.kept(node, tail) if id(node) in tail.nodes else writer.half(node)
    graph.nodes = writer.cast_outputs(made, tail)
    used = {name for node in graph.nodes for name in node.inputs}
    graph.constants = {name: held for name, held in graph.constants.items() if name in used}
    return raise_opset(graph.encoded(), OPSET)


class _Tail(NamedTuple):
    """What stays float32: nodes by identity, and the tensors that they take from FP16."""

    nodes: frozenset[int]
    boundaries: frozenset[str]


def _check(graph: Graph) -> None:
    unknown = sorted({node.op_type for node in graph.nodes} - _KNOWN)
    if graph.nested or unknown or any(node.domain for node in graph.nodes):
        raise BundleError(
            "the INT8 model can't be given FP16 around it:"
            f" {', '.join(unknown) or 'graphs within nodes'}",
            accepted=f"a graph of {', '.join(sorted(_KNOWN))}",
            remedy="build with --int8-rest fp32",
        )


def _tail(graph: Graph) -> _Tail:
    """Find what comes after, and with, the last Sigmoid before each output."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    nodes: set[int] = set()
    boundaries: set[str] = set()
    for output in graph.outputs:
        way: list[Node] = []
        name = output
        while (node := makers.get(name)) and node.op_type in _REARRANGING:
            way.append(node)
            name = node.inputs[0]
        if node is None or node.op_type != "Sigmoid":
            boundaries.add(output)
            continue
        nodes |= {id(each) for each in (*way, node)}
        boundaries.add(node.inputs[0])
    return _Tail(frozenset(nodes), frozenset(boundaries))


def _channelwise(graph: Graph) -> dict[str, Node]:
    """Return convolutions by the dequantised weight that they alone read."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return {
        node.outputs[0]: readers[node.outputs[0]][0]
        for node in graph.nodes
        if node.op_type == "DequantizeLinear"
        and node.inputs[0] in graph.constants
        and [n.op_type for n in readers.get(node.outputs[0], [])] == ["Conv"]
    }


class _Writer:
    """Writes nodes anew and keeps the constants that they read.

    Parameters
    ----------
    graph
        The graph.
    after
        Convolutions by their dequantised weight, whose channels are scaled after them.
    """

    def __init__(self, graph: Graph, after: Mapping[str, Node]) -> None:
        self._graph = graph
        self._after = after
        self._factors: dict[str, NDArray[np.float16]] = {}

    def kept(self, node: Node, tail: _Tail) -> list[Node]:
        """Return a node that stays float32, reading a boundary through a Cast."""
        made = []
        inputs = list(node.inputs)
        for slot, name in enumerate(inputs):
            if name in tail.boundaries:
                inputs[slot] = f"{name}_float32"
                made.append(_cast(name, inputs[slot], _FLOAT))
        return [*made, replace(node, inputs=tuple(inputs))]

    def half(self, node: Node) -> list[Node]:
        """Return a node that computes in FP16."""
        if node.op_type == "Cast" and node.get("to") == _FLOAT:
            return [replace(_cast(node.inputs[0], node.outputs[0], _HALF), name=node.name)]
        inputs = list(node.inputs)
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            after = node.outputs[0] in self._after
            self._check_scale(node, inputs, ratio=_RATIO if after else _HALF_MAX)
            if after:
                return [self._one_scale(node, inputs)]
        floats = _ALWAYS_FLOAT.get(node.op_type, ())
        for slot, name in enumerate(inputs):
            if slot not in floats and name in self._graph.constants:
                inputs[slot] = self._constant(name)
        made = replace(node, inputs=tuple(inputs))
        if node.op_type == "Conv" and node.inputs[1] in self._factors:
            return self._scaled(made, self._factors[node.inputs[1]])
        return [made]

    def _one_scale(self, node: Node, inputs: list[str]) -> Node:
        """Return a weight's DequantizeLinear with the smallest of its scales for all channels."""
        scale = self._array(inputs[1])
        if scale is None:
            raise BundleError(f"{node.name}: the scale {inputs[1]} is no constant")
        smallest = scale.min().astype(np.float16)
        self._factors[node.outputs[0]] = (scale / smallest).reshape(-1).astype(np.float16)
        name = self._add(f"{inputs[1]}_smallest", smallest.reshape(()))
        return make_node("DequantizeLinear", [inputs[0], name], node.outputs, node.name)

    def _scaled(self, node: Node, factors: NDArray[np.float16]) -> list[Node]:
        """Return a convolution, the multiplication of its channels, and its bias after that."""
        inner, result = f"{node.outputs[0]}_unscaled", node.outputs[0]
        factor = self._add(f"{result}_factors", factors.reshape(1, -1, 1, 1))
        biased = len(node.inputs) > 2  # noqa: PLR2004 - data, weight, bias
        product = f"{result}_scaled" if biased else result
        made = [
            replace(node, inputs=node.inputs[:2], outputs=(inner,)),
            make_node("Mul", [inner, factor], [product], f"{node.name}_scale"),
        ]
        if biased:
            bias = self._array(node.inputs[2])
            if bias is None:
                raise BundleError(f"{node.name}: its bias {node.inputs[2]} is no constant")
            held = self._add(f"{node.inputs[2]}_plane", bias.reshape(1, -1, 1, 1))
            made.append(make_node("Add", [product, held], [result], f"{node.name}_bias"))
        return made

    def cast_outputs(self, nodes: list[Node], tail: _Tail) -> list[Node]:
        """Let the outputs that end in FP16 be float32 all the same."""
        named = {name: f"{name}_float16" for name in tail.boundaries & {*self._graph.outputs}}
        if not named:
            return nodes

        def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(named.get(name, name) for name in names)

        made = [replace(n, inputs=renamed(n.inputs), outputs=renamed(n.outputs)) for n in nodes]
        return made + [_cast(inner, name, _FLOAT) for name, inner in sorted(named.items())]

    def _constant(self, name: str) -> str:
        """Return the name of a constant in FP16; of the constant itself if it is not float32."""
        values = self._graph.constants[name].array()
        if values is None or values.dtype != np.float32:
            return name
        largest = float(np.abs(values).max(initial=0.0))
        if not largest <= _HALF_MAX:
            raise _too_large(name, largest)
        return self._add(f"{name}_float16", values.astype(np.float16))

    def _add(self, name: str, values: NDArray[Any]) -> str:
        if name not in self._graph.constants:
            self._graph.constants[name] = make_tensor(name, values)
        return name

    def _check_scale(self, node: Node, inputs: list[str], *, ratio: float) -> None:
        """Refuse a scale that FP16 can't hold; of weights, round to larger steps instead."""
        scale, weight = self._array(inputs[1]), self._array(inputs[0])
        if scale is None or scale.dtype != np.float32:
            raise BundleError(f"{node.name}: the scale {inputs[1]} is no float32 constant")
        least, most = float(scale.min()), float(scale.max())
        if not most * _LEVELS <= _HALF_MAX:
            raise _too_large(inputs[1], most * _LEVELS)
        smallest = max(_SMALLEST_SCALE, most / ratio)
        if weight is None and not least >= _SMALLEST_SCALE:
            raise BundleError(
                f"{node.name}: the scale {least:g} is too small for FP16",
                accepted=f"{_SMALLEST_SCALE:g} and more",
                remedy="build with --int8-rest fp32",
            )
        if weight is not None and least < smallest:
            axis = node.get("axis", 1)
            if not isinstance(axis, int):
                raise BundleError(f"{node.name}: its axis is {axis!r}")
            raised = np.maximum(scale, np.float32(smallest))
            shape = [-1 if n == axis % weight.ndim else 1 for n in range(weight.ndim)]
            factor = (scale / raised).reshape(shape if scale.ndim else ())
            inputs[0] = self._add(f"{inputs[0]}_raised", np.rint(weight * factor).astype(np.int8))
            inputs[1] = self._add(f"{inputs[1]}_raised", raised)

    def _array(self, name: str) -> NDArray[Any] | None:
        held = self._graph.constants.get(name)
        return None if held is None else held.array()


def _cast(source: str, result: str, to: int) -> Node:
    return make_node("Cast", [source], [result], f"{result}_cast", attribute("to", to))


def _too_large(name: str, largest: float) -> BundleError:
    return BundleError(
        f"{name} reaches {largest:g}, which FP16 does not hold",
        accepted=f"at most {_HALF_MAX:g}",
        remedy="build with --int8-rest fp32",
    )
