"""The image's columns on its way into a graph, and how they are grouped without being moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.backends.rewrites.topology import add_constant, fresh_name, is_op
from scanside.onnxgraph import attribute, make_node

if TYPE_CHECKING:
    from scanside.backends.rewrites.topology import Topology
    from scanside.onnxgraph import Graph, Node

__all__ = ["averaged_squares", "image_columns", "regrouped"]

_PASSING: Final = frozenset(
    {"Cast", "Mul", "Add", "QuantizeLinear", "DequantizeLinear", "Transpose"}
)
_RANK: Final = 4


def image_columns(name: str, topology: Topology) -> int | None:
    """Return the columns of what the image is scaled, averaged and quantised to, ``[N, C, H, W]``.

    None where it does not come from the image, or from one whose columns are not declared.
    """
    reduced, turned = 1, False
    while (node := topology.producers.get(name)) is not None:
        side = averaged_squares(node) if is_op(node, "AveragePool") else None
        if side is None and node.op_type not in _PASSING:
            return None
        reduced *= side or 1
        turned ^= node.op_type == "Transpose"
        name = node.inputs[0]
    declared = topology.graph.inputs.get(name)
    if declared is None or len(declared.shape) != _RANK or not turned:
        return None
    columns = declared.shape[2]
    return columns // reduced if columns and columns % reduced == 0 else None


def averaged_squares(pool: Node) -> int | None:
    """Return the side of the squares that a pool averages, where they lie side by side."""
    kernel = pool.get("kernel_shape")
    if not isinstance(kernel, tuple) or pool.get("strides") != kernel or len(set(kernel)) != 1:
        return None
    return kernel[0]


def regrouped(graph: Graph, source: str, target: str, channels: int) -> tuple[Node, ...]:
    """Return nodes that give ``[N, C, H, W]`` other channels, with the bytes of each row kept.

    The two transpositions meet those around integer convolutions, which want channels last, and
    ONNX Runtime takes both out.
    """
    rows, grouped = (fresh_name(graph, f"{target}/{part}") for part in ("rows", "grouped"))
    held = add_constant(graph, f"{target}/shape", np.array([0, 0, -1, channels], np.int64))
    return (
        make_node(
            "Transpose", (source,), (rows,), f"{target}/Rows", attribute("perm", (0, 2, 3, 1))
        ),
        make_node("Reshape", (rows, held), (grouped,), f"{target}/Group"),
        make_node(
            "Transpose", (grouped,), (target,), f"{target}/Planes", attribute("perm", (0, 3, 1, 2))
        ),
    )
