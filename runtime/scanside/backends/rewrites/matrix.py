"""Products of quantised matrices, computed in integers row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scanside.backends.rewrites.topology import Topology, add_constant, fresh_name, is_op
from scanside.onnxgraph import make_node

if TYPE_CHECKING:
    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.backends.rewrites.topology import Pair
    from scanside.onnxgraph import Graph, Node

__all__ = ["multiply_in_integers"]


def multiply_in_integers(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Give the rows of a quantised matrix a batch axis in front of its product with weights.

    As it stands ONNX Runtime makes a Gemm in float of it, whose last bits depend on the number of
    rows. With another axis it multiplies the integers: exact, and a row does not depend on others.
    """
    topology = Topology(graph)
    found = [
        (node, pair)
        for node in graph.nodes
        if (pair := _activation(node, topology)) is not None and _weights(node, topology)
    ]
    for node, pair in found:
        axes = add_constant(graph, f"{node.outputs[0]}/axes", np.array([1], np.int64))
        rows, product = (
            fresh_name(graph, f"{node.outputs[0]}/{part}") for part in ("rows", "product")
        )
        # Quantised values are given the axis: the product must read DequantizeLinear itself.
        read = fresh_name(graph, f"{node.outputs[0]}/read")
        made = (
            make_node("Unsqueeze", (pair.quantize.outputs[0], axes), (rows,), f"{node.name}/Rows"),
            replace(pair.dequantize[0], inputs=(rows, *pair.quantize.inputs[1:]), outputs=(read,)),
            replace(node, inputs=(read, node.inputs[1]), outputs=(product,)),
            make_node("Squeeze", (product, axes), node.outputs, f"{node.name}/Columns"),
        )
        graph.nodes[:] = [
            new for old in graph.nodes for new in (made if old is node else (old,))
            if new is not pair.dequantize[0]
        ]  # fmt: skip
    return len(found)


def _activation(node: Node, topology: Topology) -> Pair | None:
    """Return the pair that makes the left side of a product, for it alone."""
    read = topology.producer(node.inputs[0], "DequantizeLinear") if is_op(node, "MatMul") else None
    if read is None or topology.sole_reader(read, "MatMul") is None:
        return None
    quantize = topology.producer(read.inputs[0], "QuantizeLinear")
    pair = None if quantize is None else topology.pair(quantize)
    return pair if pair is not None and pair.dequantize == (read,) else None


def _weights(node: Node, topology: Topology) -> bool:
    """Return whether the right side of a product is a matrix of int8 weights."""
    read = topology.producer(node.inputs[1], "DequantizeLinear")
    values = None if read is None else topology.constant(read.inputs[0])
    return values is not None and values.dtype == np.int8 and values.ndim == 2  # noqa: PLR2004
