"""Constant folding and the removal of what nothing needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from scanside_export.rewrites.editing import (
    copied,
    is_default_domain,
    key,
    output_names,
    producers,
    redirect,
    set_nodes,
)

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

__all__ = ["RANDOM", "fold_constants", "remove_dead", "unused_initializers", "unused_nodes"]

RANDOM: Final = frozenset(
    {
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Operators whose output is, or can be, another on every run."""


def fold_constants(model: ModelProto) -> ModelProto:
    """Compute every node whose inputs are constants; remove Identity nodes.

    The arithmetic is that of ONNX's reference implementation, in the types of the graph.
    """
    model = copied(model)
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    outputs = output_names(graph)
    kept: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "Identity" and node.output[0] not in outputs:
            redirect(graph, node.output[0], node.input[0])
        elif _is_constant(node, known, outputs):
            known.update(_computed(node, known, model))
        else:
            kept.append(node)
    present = {tensor.name for tensor in graph.initializer}
    added = [tensor for name, tensor in known.items() if name not in present]
    set_nodes(graph, kept)
    graph.initializer.extend(added)
    return model


def remove_dead(model: ModelProto) -> ModelProto:
    """Remove nodes and constants that no output depends on, and what declares nothing used.

    The converter's notes on shapes go too: inference from the graph itself is authoritative.
    """
    model = copied(model)
    graph = model.graph
    unused = {key(node) for node in unused_nodes(graph)}
    set_nodes(graph, [node for node in graph.node if key(node) not in unused])
    dead = set(unused_initializers(graph))
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name in dead:
            del graph.initializer[at]
    graph.ClearField("value_info")
    domains = {"" if is_default_domain(node.domain) else node.domain for node in graph.node}
    for at in reversed(range(len(model.opset_import))):
        domain = model.opset_import[at].domain
        if not is_default_domain(domain) and domain not in domains:
            del model.opset_import[at]
    return model


def unused_nodes(graph: GraphProto) -> list[NodeProto]:
    """Return the nodes that no output of the graph depends on."""
    made_by = producers(graph)
    pending = list(output_names(graph))
    needed: set[str] = set()
    while pending:
        node = made_by.get(pending.pop())
        if node is not None and key(node) not in needed:
            needed.add(key(node))
            pending.extend(node.input)
    return [node for node in graph.node if key(node) not in needed]


def unused_initializers(graph: GraphProto) -> list[str]:
    """Return the names of the constants that no node reads and no output is."""
    read = output_names(graph) | {name for node in graph.node for name in node.input}
    return [tensor.name for tensor in graph.initializer if tensor.name not in read]


def _is_constant(node: NodeProto, known: dict[str, TensorProto], outputs: set[str]) -> bool:
    return (
        is_default_domain(node.domain)
        and node.op_type not in RANDOM
        and not any(entry.HasField("g") or entry.graphs for entry in node.attribute)
        and all(name in known for name in node.input if name)
        and not outputs.intersection(node.output)
    )


def _computed(
    node: NodeProto, known: dict[str, TensorProto], model: ModelProto
) -> dict[str, TensorProto]:
    inputs = {name: numpy_helper.to_array(known[name]) for name in node.input if name}
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.helper.make_tensor_value_info(name, known[name].data_type, None) for name in inputs],
        [onnx.ValueInfoProto(name=name) for name in node.output],
    )
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    values = ReferenceEvaluator(single).run(None, inputs)
    return {
        name: numpy_helper.from_array(value, name)
        for name, value in zip(node.output, values, strict=True)
    }
