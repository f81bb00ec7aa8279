"""Signed activations to unsigned ones: what a CPU multiplies fastest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.backends.rewrites.topology import Topology, add_constant, remove_unread

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.backends.rewrites.topology import Pair
    from scanside.onnxgraph import Graph

__all__ = ["refine_nonnegative", "unsign_activations"]

_SIGNED_LEVELS, _UNSIGNED_LEVELS = 127, 255
"""The largest quantised value of the same range, symmetric int8 and uint8 from 0."""

_MIDDLE: Final = 128

Numbers = tuple[np.float32, np.uint8]


def unsign_activations(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Make int8 activations uint8 with zero point 128; the values stay the same ones."""
    topology = Topology(graph)

    def unsigned(pair: Pair) -> Numbers:
        return pair.scale, np.uint8(int(pair.zero_point) + _MIDDLE)

    return _requantise(graph, topology, unsigned)


def refine_nonnegative(graph: Graph, cpu: CpuFeatures) -> int:
    """Make int8 activations that can't be negative uint8 with zero point 0."""
    topology = Topology(graph)

    def fine(pair: Pair) -> Numbers | None:
        if pair.zero_point != 0 or not topology.nonnegative(pair.quantize.inputs[0]):
            return None
        ratio = _SIGNED_LEVELS / _UNSIGNED_LEVELS if cpu.wide_dot_product else 1.0
        scale = np.float32(float(pair.scale) * ratio)
        return (scale, np.uint8(0)) if scale > 0 else None

    return _requantise(graph, topology, fine)


def _requantise(graph: Graph, topology: Topology, numbers: Callable[[Pair], Numbers | None]) -> int:
    """Give int8 pairs other scales and zero points."""
    edited: dict[int, tuple[str, str]] = {}
    replaced: set[str] = set()
    constants: dict[tuple[str, float], str] = {}

    def constant(tensor: str, value: np.float32 | np.uint8) -> str:
        kind = (str(value.dtype), float(value))
        if kind not in constants:
            constants[kind] = add_constant(graph, tensor, np.array(value))
        return constants[kind]

    count = 0
    for pair in topology.pairs():
        if pair.zero_point.dtype != np.int8 or (found := numbers(pair)) is None:
            continue
        count += 1
        scale, zero_point = found
        tensor = pair.quantize.inputs[0]
        names = (
            pair.quantize.inputs[1]
            if scale == pair.scale
            else constant(f"{tensor}/fine_scale", scale),
            constant(f"unsigned_zero_point_{zero_point}", zero_point),
        )
        for node in (pair.quantize, *pair.dequantize):
            edited[id(node)] = names
            replaced.update(node.inputs[1:])
    graph.nodes[:] = [
        replace(node, inputs=(node.inputs[0], *edited[id(node)])) if id(node) in edited else node
        for node in graph.nodes
    ]
    remove_unread(graph, replaced)
    return count
