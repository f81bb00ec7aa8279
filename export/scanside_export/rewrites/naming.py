"""Names that a person can find in the Keras model.

The converter names nodes after TensorFlow's scopes and counters (``Conv__437``). Here every
node is called after its Keras layer and its operator (``conv5_block2_3_conv/Conv``), its output
and its constants after the node: reports by layer read well, and equal models give equal bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import onnx

from scanside_export.rewrites.editing import (
    copied,
    free_name,
    is_default_domain,
    key,
    output_names,
    producers,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from onnx import ModelProto, NodeProto

__all__ = ["name_nodes"]

_WEIGHTED: Final = ("Conv", "Gemm", "MatMul")
_WEIGHTS: Final = {1: "weight", 2: "bias"}


def name_nodes(model: ModelProto, layers: Collection[str]) -> ModelProto:
    """Name nodes, tensors and constants after the Keras layers they come from.

    Parameters
    ----------
    model
        The model; the names of its inputs and outputs stay.
    layers
        The names of the Keras layers.
    """
    model = copied(model)
    graph = model.graph
    fixed = {value.name for value in graph.input} | output_names(graph)
    made_by = producers(graph)
    scopes: dict[str, str] = {}
    new: dict[str, str] = {name: name for name in fixed}
    taken, taken_nodes = set(fixed), set[str]()
    for node in graph.node:
        before = made_by.get(node.input[0]) if node.input else None
        inherited = scopes.get(key(before), "graph") if before is not None else "graph"
        scope = scopes[key(node)] = _layer(node, frozenset(layers)) or inherited
        name = free_name(f"{scope}/{node.op_type}", taken_nodes)
        for at, tensor in enumerate(node.output):
            suffix = "output" if at == 0 else f"output_{at}"
            if tensor and tensor not in new:
                new[tensor] = free_name(f"{name}_{suffix}", taken)
        node.name = name
    _name_initializers(model, scopes, new, taken)
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    graph.ClearField("value_info")
    _sort_initializers(model)
    return model


def _name_initializers(
    model: ModelProto, scopes: dict[str, str], new: dict[str, str], taken: set[str]
) -> None:
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name not in initializers or name in new:
                continue
            if node.op_type in _WEIGHTED:
                wanted = f"{scopes[key(node)]}/{_WEIGHTS.get(at, str(at))}"
            else:
                wanted = f"{node.name}_{_formal(node, at, model)}"
            new[name] = free_name(wanted, taken)
    for tensor in initializers.values():
        tensor.name = new.get(tensor.name, tensor.name)


def _formal(node: NodeProto, at: int, model: ModelProto) -> str:
    """Return what the operator's definition calls its input; its number where none is known."""
    version = max(entry.version for entry in model.opset_import if is_default_domain(entry.domain))
    try:
        formals = onnx.defs.get_schema(node.op_type, version, node.domain).inputs
    except onnx.defs.SchemaError:  # a custom operator: the check will name it
        return str(at)
    return str(formals[min(at, len(formals) - 1)].name).lower()


def _layer(node: NodeProto, layers: frozenset[str]) -> str:
    """Return the innermost Keras layer that a node's name, or its weights' name, tells of."""
    weights = node.input[1] if node.op_type in _WEIGHTED and len(node.input) > 1 else ""
    for name in (weights, node.name):
        # The last part is what the layer does (Relu, add_1, ReadVariableOp).
        for part in reversed(name.split("/")[:-1]):
            # TensorFlow counts the uses of a scope: conv1_conv becomes conv1_conv_1.
            for candidate in (re.sub(r"_\d+$", "", part), part):
                if candidate in layers:
                    return candidate
    return ""


def _sort_initializers(model: ModelProto) -> None:
    """Put the constants into the order of their first use: the converter's is arbitrary."""
    order: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            order.setdefault(name, len(order))
    kept = sorted(model.graph.initializer, key=lambda tensor: order.get(tensor.name, len(order)))
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(copies)
