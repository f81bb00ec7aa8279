"""Signed activations to unsigned ones, which a CPU multiplies fastest, and each rounded once."""

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

__all__ = ["refine_nonnegative", "round_once", "unsign_activations"]

_SIGNED_LEVELS, _UNSIGNED_LEVELS = 127, 255
"""The largest quantised value of the same range, symmetric int8 and uint8 from 0."""

_MIDDLE: Final = 128

_CHOOSING: Final = ("Concat", "MaxPool")
"""Operators that pass on some of their inputs' values, and make none."""

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


def round_once(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Leave out the pairs that round what was rounded by the same numbers before."""
    topology = Topology(graph)
    again = [pair for pair in topology.pairs() if _was_rounded(pair, topology)]
    read = {node.outputs[0]: pair.quantize.inputs[0] for pair in again for node in pair.dequantize}
    gone = {id(node) for pair in again for node in (pair.quantize, *pair.dequantize)}
    graph.nodes[:] = [
        replace(node, inputs=tuple(read.get(name, name) for name in node.inputs))
        if any(name in read for name in node.inputs)
        else node
        for node in graph.nodes
        if id(node) not in gone
    ]
    remove_unread(graph, {name for pair in again for name in pair.quantize.inputs[1:]})
    return len(again)


def _was_rounded(pair: Pair, topology: Topology) -> bool:
    """Return whether a pair can go: all that it reads comes from pairs of the same numbers."""
    makers = (topology.producer(pair.quantize.inputs[0], kind) for kind in _CHOOSING)
    maker = next((node for node in makers if node is not None), None)
    if maker is None or any(node.outputs[0] in topology.graph.outputs for node in pair.dequantize):
        return False
    before = [topology.rounding(name) for name in maker.inputs]
    return all(each is not None and pair.same_numbers(each) for each in before)


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
