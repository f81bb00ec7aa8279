"""Which nodes compute in FP16, and why the others stay in float32."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from scanside_calibration.half.graphs import key, label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from onnx import NodeProto

    from scanside_calibration.half.graphs import FloatGraph
    from scanside_calibration.half.weights import Rounding

__all__ = ["HALF_MAX", "plan_types"]

HALF_MAX: Final = 65504.0
"""FP16's largest finite number: ``(2 - 2**-10) * 2**15`` (IEEE 754-2019, binary16)."""

_HALF: Final = frozenset(
    {
        *("Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv"),
        *("ConvTranspose", "Div", "Dropout", "Flatten", "Gemm", "GlobalMaxPool", "Identity"),
        *("LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "Pad", "PRelu", "Relu"),
        *("Reshape", "Resize", "Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
    }
)
"""Operators whose float inputs and outputs have one type, which may be FP16, and that keep
eleven bits where their inputs have them. Any other operator stays in float32."""

_WHY_FLOAT: Final = {
    "Sigmoid": "sigmoid: FP16 cannot tell probabilities above 0.9995 apart",
    "GlobalAveragePool": "a mean: its sum over all pixels may be kept in the output's type",
}


def plan_types(
    floats: FloatGraph,
    largest: Mapping[str, float],
    sums: Mapping[str, float],
    roundings: Iterable[Rounding],
    *,
    limit: float,
) -> dict[str, str]:
    """Choose the nodes that stay in float32.

    A tensor beyond the limit is neither made nor read in FP16: casting it would overflow too.
    A part of the graph between float32 nodes that has no convolution stays in float32 with
    them: a Cast there and another one back cost more than FP16 saves.

    Parameters
    ----------
    floats
        What `read_float_graph` found in the model.
    largest
        The largest absolute value of each activation on real slices.
    sums
        The largest partial sum by the key of the accumulating node.
    roundings
        What rounding does to the constants.
    limit
        The largest absolute value that FP16 is trusted with.

    Returns
    -------
    dict
        Why, by the key of each node that stays in float32, in graph order.
    """
    lost = {(each.node, each.tensor): each for each in roundings if not each.tolerable}
    why = {}
    for node in floats.nodes:
        reason = _reason(node, floats, largest, sums.get(key(node), 0.0), lost, limit)
        if reason:
            why[key(node)] = reason
    while idle := _without_convolution(floats, why):
        why.update(idle)
    return {key(node): why[key(node)] for node in floats.nodes if key(node) in why}


def _reason(
    node: NodeProto,
    floats: FloatGraph,
    largest: Mapping[str, float],
    partial: float,
    lost: Mapping[tuple[str, str], Rounding],
    limit: float,
) -> str:
    """Return why a node by itself has to stay in float32, or nothing."""
    inputs = floats.float_inputs(node)
    if node.op_type in _WHY_FLOAT:
        return _WHY_FLOAT[node.op_type]
    reads_float = node.op_type == "Cast" and bool(inputs)
    if node.op_type not in _HALF or node.domain not in {"", "ai.onnx"} or reads_float:
        return f"{node.op_type} is not known to keep its accuracy in FP16"
    if beyond := _beyond(node, floats, largest, partial, limit):
        return beyond
    for name in inputs:
        if (label(node), name) in lost:
            return _lost(lost[label(node), name])
    return ""


def _beyond(
    node: NodeProto,
    floats: FloatGraph,
    largest: Mapping[str, float],
    partial: float,
    limit: float,
) -> str:
    """Return which value of a node is beyond the limit, or nothing."""
    touched = {"makes": floats.float_outputs(node), "reads": floats.float_inputs(node)}
    for verb, names in touched.items():
        for name in names:
            if largest.get(name, 0.0) > limit:
                return f"{verb} {name}, up to {largest[name]:.6g}: beyond {limit:.6g}"
    if partial > limit:
        return f"its partial sums may reach {partial:.6g}: beyond {limit:.6g}"
    return ""


def _lost(rounding: Rounding) -> str:
    if rounding.overflowed:
        return f"{rounding.overflowed} values of {rounding.tensor} are beyond FP16"
    return (
        f"{rounding.zeroed + rounding.subnormal} values of {rounding.tensor} are below FP16's"
        f" normal numbers, and rounding them may move the output by {rounding.loss:.2g}"
    )


def _without_convolution(floats: FloatGraph, kept: Mapping[str, str]) -> dict[str, str]:
    """Return the nodes of those connected FP16 parts of the graph that hold no convolution."""
    halves = [node for node in floats.nodes if key(node) not in kept]
    parent = {key(node): key(node) for node in halves}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    maker = {name: key(node) for node in halves for name in floats.float_outputs(node)}
    for node in halves:
        for name in floats.float_inputs(node):
            if name in maker:
                parent[root(key(node))] = root(maker[name])
    parts: defaultdict[str, list[NodeProto]] = defaultdict(list)
    for node in halves:
        parts[root(key(node))].append(node)
    return {
        key(node): "lies between float32 nodes without a convolution that would gain by FP16"
        for part in parts.values()
        if not any(node.op_type in {"Conv", "ConvTranspose"} for node in part)
        for node in part
    }
