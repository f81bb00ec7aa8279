"""Transposes that cancel, and reshapes whose target is known before the graph runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from scanside_export.rewrites.editing import (
    attribute,
    constants,
    copied,
    free_name,
    inferred_shapes,
    key,
    output_names,
    producers,
    redirect,
    set_nodes,
    tensor_names,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

__all__ = ["cancel_transposes", "simplify_reshapes"]


def cancel_transposes(model: ModelProto) -> ModelProto:
    """Compose Transposes of Transposes, and remove those that leave the order as it is."""
    model = copied(model)
    graph = model.graph
    made_by, outputs = producers(graph), output_names(graph)
    gone: set[str] = set()
    for node in graph.node:
        if node.op_type != "Transpose" or not attribute(node, "perm", ()):
            continue
        order = [int(axis) for axis in attribute(node, "perm", ())]
        before = made_by.get(node.input[0])
        if before is not None and before.op_type == "Transpose" and key(before) not in gone:
            inner = attribute(before, "perm", ())
            order = [int(inner[axis]) for axis in order]
            node.input[0] = before.input[0]
            node.ClearField("attribute")
            node.attribute.append(onnx.helper.make_attribute("perm", order))
        if order == sorted(order) and node.output[0] not in outputs:
            redirect(graph, node.output[0], node.input[0])
            gone.add(key(node))
    set_nodes(graph, [node for node in graph.node if key(node) not in gone])
    return model


def simplify_reshapes(model: ModelProto) -> ModelProto:
    """Give every Reshape its simplest static form.

    Where only axes of length one go, it becomes a Squeeze; otherwise, if all but the batch axis
    is known, its target becomes a constant, and the shape arithmetic in front of it is dead.
    """
    model = copied(model)
    graph = model.graph
    shapes, known, taken = inferred_shapes(model), constants(graph), tensor_names(graph)
    outputs = output_names(graph)
    kept: list[NodeProto] = []
    for node in graph.node:
        before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
        if node.op_type != "Reshape" or before is None or after is None or not _batched(after):
            kept.append(node)
            continue
        if _equal(before, after) and node.output[0] not in outputs:
            redirect(graph, node.output[0], node.input[0])
            continue
        axes = _squeezed(before, after)
        if axes is not None:
            node.op_type = "Squeeze"
            node.ClearField("attribute")
            _set_second_input(node, np.array(axes, np.int64), "axes", model, taken)
        elif node.input[1] not in known:
            target = np.array([-1, *after[1:]], np.int64)
            _set_second_input(node, target, "shape", model, taken)
        kept.append(node)
    set_nodes(graph, kept)
    return model


def _batched(shape: tuple[int | str, ...]) -> bool:
    """Tell whether a shape is known but for the first axis."""
    return bool(shape) and all(isinstance(length, int) for length in shape[1:])


def _equal(before: tuple[int | str, ...], after: tuple[int | str, ...]) -> bool:
    """Tell whether a reshape changes nothing; with all other axes equal, so is the first."""
    return _batched(before) and len(before) == len(after) and before[1:] == after[1:]


def _squeezed(before: tuple[int | str, ...], after: tuple[int | str, ...]) -> list[int] | None:
    """Return the axes of length one that, removed, turn one shape into another."""
    ones = [axis for axis, length in enumerate(before) if length == 1 and axis > 0]
    if len(before) - len(after) != len(ones) or not ones or not _batched(before):
        return None
    rest = [length for axis, length in enumerate(before) if axis not in ones]
    return ones if rest[1:] == list(after[1:]) else None


def _set_second_input(
    node: NodeProto, value: NDArray[Any], what: str, model: ModelProto, taken: set[str]
) -> None:
    name = free_name(f"{node.name}/{what}", taken)
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    node.input[1] = name
