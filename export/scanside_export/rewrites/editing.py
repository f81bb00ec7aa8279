"""What every rewrite needs: copies, constants, who makes a tensor and who reads it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

__all__ = [
    "attribute",
    "constants",
    "consumers",
    "copied",
    "free_name",
    "inferred_shapes",
    "is_default_domain",
    "key",
    "output_names",
    "producers",
    "redirect",
    "set_nodes",
    "tensor_names",
]


def copied(model: ModelProto) -> ModelProto:
    """Return a copy that a rewrite may edit."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def is_default_domain(domain: str) -> bool:
    """Tell whether a domain is ONNX's own; the empty name and ``ai.onnx`` mean the same."""
    return domain in ("", "ai.onnx")


def constants(graph: GraphProto) -> dict[str, NDArray[Any]]:
    """Return the initializers' values by name."""
    return {tensor.name: to_array(tensor) for tensor in graph.initializer}


def to_array(tensor: TensorProto) -> NDArray[Any]:
    """Return a tensor's value."""
    return cast("NDArray[Any]", numpy_helper.to_array(tensor))


def output_names(graph: GraphProto) -> set[str]:
    """Return the names of the graph's outputs."""
    return {value.name for value in graph.output}


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """Return the node that makes each tensor."""
    return {name: node for node in graph.node for name in node.output if name}


def consumers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """Return the nodes that read each tensor; one entry an input, so that a square counts two."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            if name:
                readers[name].append(node)
    return readers


def tensor_names(graph: GraphProto) -> set[str]:
    """Return every tensor name that is taken."""
    names = {tensor.name for tensor in graph.initializer}
    names |= {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        names.update(node.input)
        names.update(node.output)
    return names


def free_name(wanted: str, taken: set[str]) -> str:
    """Return `wanted`, or the first of ``wanted_2``, ``wanted_3``, ... that is free; take it."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name


def redirect(graph: GraphProto, old: str, new: str) -> None:
    """Let every reader of one tensor read another."""
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name == old:
                node.input[at] = new


def key(node: NodeProto) -> str:
    """Return what tells a node from all others: its first output.

    Names may be missing, and ``id()`` is no use: protobuf makes a node's Python object anew
    whenever nobody holds the last one.
    """
    return str(node.output[0])


def set_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    """Replace the graph's nodes by these, in this order."""
    kept = [copy_node(node) for node in nodes]
    graph.ClearField("node")
    graph.node.extend(kept)


def copy_node(node: NodeProto) -> NodeProto:
    """Return a copy of a node: one that a cleared graph can't invalidate."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def attribute(node: NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401 - ints, floats, bytes
    """Return a node's attribute, or the default where it is not there."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def inferred_shapes(model: ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Return the shape of every tensor that ONNX can infer.

    A dimension is an integer where it is known and its symbol where it is not, empty for none.
    Tensors of unknown rank are left out.
    """
    bare = copied(model)
    bare.graph.ClearField("value_info")
    graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    shapes: dict[str, tuple[int | str, ...]] = {
        tensor.name: tuple(tensor.dims) for tensor in graph.initializer
    }
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param
                for dim in kind.shape.dim
            )
    return shapes
