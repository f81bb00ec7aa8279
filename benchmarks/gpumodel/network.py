"""Kernels of a network with their multiply-accumulates and bytes, from its ONNX graph.

What TensorRT fuses is one kernel: a convolution or matrix product with its bias, Relu and the
residual that is added; quantisers disappear in their neighbours. Pooling, enlarging and
concatenating are kernels of their own, and so is the conversion of the image.

References
----------
TensorRT Developer Guide, "Layer fusion".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import onnx
from onnx import helper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Kernel", "kernels", "resnet50"]

_WEIGHTED: Final[Mapping[str, Callable[[Sequence[int]], int]]] = {
    "Conv": lambda dims: math.prod(dims[1:]),
    "Gemm": lambda dims: math.prod(dims[1:]),
    "MatMul": lambda dims: dims[0],
}
"""Multiply-accumulates for each element of the output, from the weight's shape."""

_ALONE: Final = frozenset({
    "AveragePool", "Concat", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Resize",
})  # fmt: skip


class Kernel(NamedTuple):
    """What is computed at once.

    Attributes
    ----------
    name, kind
        Of the ONNX node that gives it its name.
    macs
        Multiply-accumulates.
    moved
        Elements of activations that are read and written.
    weights
        Elements of weights that are read.
    """

    name: str
    kind: str
    macs: int
    moved: int
    weights: int


def kernels(model: onnx.ModelProto, batch: int = 1) -> list[Kernel]:
    """Return the kernels of a model.

    Parameters
    ----------
    model
        With or without quantisers; the batch axis comes first.
    batch
        Slices at once.
    """
    shapes, constants = _shapes(model, batch)
    found: dict[str, Kernel] = {}
    made_by: dict[str, str] = {}

    def size(name: str) -> int:
        return math.prod(shapes[name])

    for node in model.graph.node:
        moving = [name for name in node.input if name and name not in constants]
        output = node.output[0]
        if not moving:
            constants[output] = next(
                (constants[name] for name in node.input if name in constants), ()
            )
            continue
        if node.op_type in _WEIGHTED:
            weight = constants[node.input[1]]
            macs = size(output) * _WEIGHTED[node.op_type](weight)
            moved = size(moving[0]) + size(output)
            found[output] = Kernel(node.name, node.op_type, macs, moved, math.prod(weight))
        elif node.op_type in _ALONE or not made_by:
            moved = sum(map(size, moving)) + size(output)
            found[output] = Kernel(node.name, node.op_type, 0, moved, 0)
        made_by[output] = output if output in found else _latest(moving, made_by, list(found))
        if node.op_type == "Add" and len(moving) > 1:
            # The convolution that comes last adds the other one's result when it writes its own.
            held = found[made_by[output]]
            found[made_by[output]] = held._replace(moved=held.moved + size(output))
    return list(found.values())


def _latest(names: list[str], made_by: Mapping[str, str], order: list[str]) -> str:
    makers = [made_by[name] for name in names if name in made_by]
    return max(makers, key=order.index)


def _shapes(
    model: onnx.ModelProto, batch: int
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shapes of what moves, and of constants."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.ClearField("value_info")
    for value in (fixed.graph.input[0], *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True, strict_mode=True).graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    constants |= {value.name: shapes[value.name] for value in list(graph.input)[1:]}
    return shapes, constants


def resnet50(side: int = 224) -> onnx.ModelProto:
    """Return ResNet-50 v1.5 as MLPerf runs it, its weights left open.

    References
    ----------
    https://github.com/mlcommons/inference/tree/master/vision/classification_and_detection:
    ``resnet50_v1``, in which the 3x3 convolutions have the stride.
    """
    graph = _Graph(side)
    last = graph.conv("image", 3, 64, 7, 2)
    last = graph.node("MaxPool", [last], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    held = 64
    for blocks, width, first in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for block in range(blocks):
            stride = first if block == 0 else 1
            shortcut = graph.conv(last, held, 4 * width, 1, stride) if block == 0 else last
            inner = graph.conv(last, held, width, 1, 1)
            inner = graph.conv(inner, width, width, 3, stride)
            inner = graph.conv(inner, width, 4 * width, 1, 1)
            last = graph.node("Relu", [graph.node("Add", [shortcut, inner])])
            held = 4 * width
    last = graph.node("Flatten", [graph.node("GlobalAveragePool", [last])])
    return graph.model(graph.node("Gemm", [last, graph.weight([1000, held])], transB=1))


class _Graph:
    """Writes a graph node by node."""

    def __init__(self, side: int) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inputs = [_value("image", ["batch", 3, side, side])]

    def node(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, shape: list[int]) -> str:
        name = f"weight{len(self._inputs)}"
        self._inputs.append(_value(name, shape))
        return name

    def conv(self, source: str, held: int, made: int, kernel: int, stride: int) -> str:
        weight = self.weight([made, held, kernel, kernel])
        pads = [kernel // 2] * 4
        return self.node(
            "Conv", [source, weight], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads
        )

    def model(self, output: str) -> onnx.ModelProto:
        outputs = [_value(output, ["batch", None])]
        graph = helper.make_graph(self._nodes, "resnet50", self._inputs, outputs)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _value(name: str, shape: Sequence[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
