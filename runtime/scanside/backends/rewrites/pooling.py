"""Padding in front of a MaxPool, done by the pool itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from scanside.backends.rewrites.topology import Topology, is_op, is_zero_pad, remove_unread
from scanside.onnxgraph import attribute

if TYPE_CHECKING:
    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.onnxgraph import Graph, Node

__all__ = ["fold_pad_into_pool"]

_RANK_OUTSIDE = 2
"""Axes in front of the spatial ones: batch and channels."""


class _Fold(NamedTuple):
    pad: Node
    pool: Node
    between: tuple[Node, ...]
    pads: tuple[int, ...]


def fold_pad_into_pool(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Fold every Pad that can be folded.

    A pool takes no padding for a maximum, a Pad's zero it may take; where nothing is negative
    and no window lies in the padding alone, the maximum is the same. A pair of QuantizeLinear
    and DequantizeLinear between the two goes too, if what the Pad reads has been rounded by the
    same numbers: rounding again changes nothing.
    """
    topology = Topology(graph)
    folds = [fold for node in graph.nodes if (fold := _fold(node, topology)) is not None]
    for pad, pool, between, pads in folds:
        gone = {id(node) for node in (pad, *between)}
        wider = replace(
            pool,
            inputs=(pad.inputs[0], *pool.inputs[1:]),
            attributes=(*pool.attributes, ("pads", pads)),
            rest=(*pool.rest, attribute("pads", pads)),
        )
        graph.nodes[:] = [
            wider if node is pool else node for node in graph.nodes if id(node) not in gone
        ]
        remove_unread(graph, {name for node in (pad, *between) for name in node.inputs[1:]})
    return len(folds)


def _fold(pad: Node, topology: Topology) -> _Fold | None:
    if not is_op(pad, "Pad") or not is_zero_pad(pad, topology):
        return None
    if any(pad.inputs[3:]) or not topology.nonnegative(pad.inputs[0]):
        return None
    pool = topology.sole_reader(pad, "MaxPool")
    between: tuple[Node, ...] = ()
    if pool is None and (chain := _rounded_again(pad, topology)) is not None:
        pool, between = chain
    pads = None if pool is None else _pool_pads(pad, pool, topology)
    return None if pool is None or pads is None else _Fold(pad, pool, between, pads)


def _rounded_again(pad: Node, topology: Topology) -> tuple[Node, tuple[Node, Node]] | None:
    """Return the pool behind a pair that changes nothing, and the pair."""
    quantize = topology.sole_reader(pad, "QuantizeLinear")
    pair = None if quantize is None else topology.pair(quantize)
    first = topology.rounding(pad.inputs[0])
    if pair is None or first is None or len(pair.dequantize) != 1 or not pair.same_numbers(first):
        return None
    pool = topology.sole_reader(pair.dequantize[0], "MaxPool")
    return None if pool is None else (pool, (pair.quantize, pair.dequantize[0]))


def _pool_pads(pad: Node, pool: Node, topology: Topology) -> tuple[int, ...] | None:
    """Return the padding as MaxPool takes it; None if it can't take it over."""
    held = topology.constant(pad.inputs[1])
    kernel = pool.get("kernel_shape")
    if held is None or not isinstance(kernel, tuple) or len(pool.outputs) != 1:
        return None
    if pool.get("auto_pad", b"NOTSET") != b"NOTSET" or pool.get("ceil_mode", 0):
        return None
    if pool.get("pads") is not None or pool.get("dilations") is not None:
        return None
    amounts = [int(value) for value in held.reshape(-1)]
    rank = len(kernel) + _RANK_OUTSIDE
    if len(amounts) != 2 * rank:
        return None
    before, after = amounts[:rank], amounts[rank:]
    if any([*before[:_RANK_OUTSIDE], *after[:_RANK_OUTSIDE]]):
        return None
    spatial = (*before[_RANK_OUTSIDE:], *after[_RANK_OUTSIDE:])
    # Less than the window: it always holds a value that is not padding.
    fits = all(0 <= amount < side for amount, side in zip(spatial, kernel * 2, strict=True))
    return spatial if fits else None
