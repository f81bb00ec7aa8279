"""What every step here needs to know of a graph: which nodes compute in floating point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import onnx
from onnx import TensorProto, numpy_helper

from scanside.errors import BundleError
from scanside_calibration.ranges import float_activations

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

__all__ = ["FloatGraph", "key", "label", "read_float_graph"]

FIXED_INPUTS: Final = {"Resize": frozenset({1, 2})}
"""Inputs that stay float32 whatever the node computes in: Resize's region and scales.

References
----------
https://onnx.ai/onnx/operators/onnx__Resize.html: `scales` is ``tensor(float)`` in every version.
"""


class FloatGraph(NamedTuple):
    """A model's float tensors.

    Attributes
    ----------
    nodes
        The nodes that read or make a float32 tensor, in graph order.
    activations
        The float32 tensors that nodes make, and float32 inputs of the graph.
    constants
        The float32 initializers by name.
    """

    nodes: tuple[NodeProto, ...]
    activations: frozenset[str]
    constants: dict[str, NDArray[Any]]

    def float_inputs(self, node: NodeProto) -> list[str]:
        """Return the inputs of a node that have the type in which it computes."""
        fixed = FIXED_INPUTS.get(node.op_type, frozenset())
        return [
            name
            for at, name in enumerate(node.input)
            if at not in fixed and (name in self.activations or name in self.constants)
        ]

    def float_outputs(self, node: NodeProto) -> list[str]:
        """Return the outputs of a node that have the type in which it computes."""
        return [name for name in node.output if name in self.activations]


def key(node: NodeProto) -> str:
    """Return what tells a node from all others: its first output (names may be missing)."""
    return str(node.output[0])


def label(node: NodeProto) -> str:
    """Return how a message or a certificate calls a node."""
    return str(node.name or node.output[0])


def read_float_graph(model: ModelProto) -> FloatGraph:
    """Read which nodes and tensors of an FP32 model are in floating point.

    Parameters
    ----------
    model
        An FP32 ONNX model.

    Raises
    ------
    BundleError
        If the model is not FP32 throughout: FP16, bfloat16 or double tensors, Q/DQ, control
        flow or functions; or if its types can't be inferred.
    """
    graph = model.graph
    _refuse_foreign(model)
    made = set(float_activations(model))
    made |= {v.name for v in graph.input if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    found = FloatGraph((), frozenset(made - set(constants)), constants)
    return found._replace(
        nodes=tuple(n for n in graph.node if found.float_inputs(n) or found.float_outputs(n))
    )


def _refuse_foreign(model: ModelProto) -> None:
    """Refuse what is no plain FP32 model."""
    other = {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    found = [f"the tensor {t.name}" for t in model.graph.initializer if t.data_type in other]
    found += [f"the function {function.name}" for function in model.functions]
    for node in model.graph.node:
        kinds = {attribute.type for attribute in node.attribute}
        target = next((a.i for a in node.attribute if a.name == "to"), None)
        quantised = node.op_type in {"QuantizeLinear", "DequantizeLinear"}
        nested = kinds & {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}
        if quantised or nested or (node.op_type == "Cast" and target in other):
            found.append(f"the {node.op_type} {label(node)}")
    if found:
        rest = f" and {len(found) - 3} more" if found[3:] else ""
        raise BundleError(
            f"the model is not FP32 throughout: {', '.join(found[:3])}{rest}",
            accepted="an FP32 model as scanside export writes it",
            remedy="derive FP16 from the bundle's fp32 files",
        )
