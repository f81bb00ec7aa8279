"""The float model behind an INT8 file, and the multiplications of one slice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

__all__ = ["count_macs", "dequantised"]


def dequantised(model: ModelProto) -> ModelProto:
    """Return the float model that a Q/DQ model approximates.

    Pairs on activations are taken out; integer weights and biases become the floats that they
    stand for. What is left has the same layers and differs from the model that was quantised
    by the rounding of the weights alone.

    Parameters
    ----------
    model
        A model with QuantizeLinear and DequantizeLinear, or a float one; it is not changed.

    Raises
    ------
    ValueError
        If a node quantises in a way that has no float counterpart here.
    """
    work = _Float(model)
    for node in model.graph.node:
        work.take(node)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    graph.ClearField("node")
    graph.ClearField("initializer")
    graph.ClearField("value_info")
    graph.node.extend(work.nodes)
    used = {name for node in work.nodes for name in node.input}
    graph.initializer.extend(tensor for name, tensor in work.constants.items() if name in used)
    onnx.checker.check_model(result, full_check=True)
    return result


class _Float:
    """The nodes so far, and what stands for the tensors that are gone."""

    def __init__(self, model: ModelProto) -> None:
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        self._instead: dict[str, str] = {}
        self._outputs = {value.name for value in model.graph.output}

    def take(self, node: NodeProto) -> None:
        """Take the next node, in the order of the graph."""
        if node.op_type == "QuantizeLinear":
            self._stands_for(node.output[0], self._now(node.input[0]))
        elif node.op_type == "DequantizeLinear":
            self._dequantise(node)
        elif "Quantize" in node.op_type or "Integer" in node.op_type or "QLinear" in node.op_type:
            raise ValueError(f"{node.name}: {node.op_type} has no float counterpart here")
        else:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.ClearField("input")
            copy.input.extend(self._now(name) for name in node.input)
            self.nodes.append(copy)

    def _dequantise(self, node: NodeProto) -> None:
        source, output = node.input[0], node.output[0]
        if source in self.constants:
            zero = self._value(node.input[2]) if len(node.input) > 2 else np.zeros((), np.int8)  # noqa: PLR2004
            values = self._floats(node, self._value(source), zero)
            self.constants[output] = numpy_helper.from_array(values, output)
        elif source in self._instead:
            self._stands_for(output, self._instead[source])
        else:
            self._from_integers(node)

    def _from_integers(self, node: NodeProto) -> None:
        """Convert an activation that is an integer in the float model, too: the image."""
        source, output = node.input[0], node.output[0]
        zero = float(self._value(node.input[2])) if len(node.input) > 2 else 0.0  # noqa: PLR2004
        for name, value in (("zero", zero), ("scale", float(self._value(node.input[1])))):
            full = f"{output}/{name}"
            self.constants[full] = numpy_helper.from_array(np.float32(value), full)
        self.nodes += [
            helper.make_node("Cast", [source], [f"{output}/float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", [f"{output}/float", f"{output}/zero"], [f"{output}/centred"]),
            helper.make_node("Mul", [f"{output}/centred", f"{output}/scale"], [output]),
        ]

    def _floats(
        self, node: NodeProto, values: NDArray[np.generic], zero: NDArray[np.generic]
    ) -> NDArray[np.float32]:
        scale = self._value(node.input[1]).astype(np.float32)
        if any(attribute.name == "block_size" and attribute.i for attribute in node.attribute):
            raise ValueError(f"{node.name}: blocked scales are not known here")
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [1] * values.ndim
        if scale.ndim:
            shape[axis] = -1
        difference = values.astype(np.int64) - zero.astype(np.int64).reshape(shape)
        return (difference * scale.reshape(shape)).astype(np.float32)

    def _stands_for(self, gone: str, source: str) -> None:
        self._instead[gone] = source
        if gone in self._outputs:
            self.nodes.append(helper.make_node("Identity", [source], [gone]))

    def _now(self, name: str) -> str:
        return self._instead.get(name, name)

    def _value(self, name: str) -> NDArray[np.generic]:
        value: NDArray[np.generic] = numpy_helper.to_array(self.constants[name])
        return value


def count_macs(model: ModelProto) -> int:
    """Return the multiply-accumulates of convolutions and matrix products for one slice.

    Parameters
    ----------
    model
        A float model whose batch axis comes first.
    """
    single = onnx.ModelProto()
    single.CopyFrom(model)
    single.graph.ClearField("value_info")
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True, strict_mode=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    inner: dict[str, Callable[[list[int]], int]] = {
        "Conv": lambda dims: math.prod(dims[1:]),
        "MatMul": lambda dims: dims[0],
    }
    return sum(
        math.prod(shapes[node.output[0]]) * inner[node.op_type](weights[node.input[1]])
        for node in graph.node
        if node.op_type in inner
    )
