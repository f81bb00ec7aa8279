"""Which layers lose the accuracy, and which of them go back to float.

From the fully quantised model one layer at a time is put back to float: what that regains is
the layer's effect. (Quantising one at a time in a float model would miss that errors add up,
and that a layer may be harmless only while its neighbours are exact.)
"""

from __future__ import annotations

from collections import deque
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

import onnx

from scanside.errors import BundleError, ParityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from onnx import ModelProto

    from scanside.contract import Role
    from scanside_calibration.guard import Verdict

__all__ = [
    "AT_ONCE",
    "MOST_FLOAT",
    "Effect",
    "FloatNodes",
    "Layer",
    "Round",
    "analyse",
    "layers",
    "roll_back",
]

AT_ONCE: Final = 3
"""Layers that go back to float before the guard is asked again: one at a time would ask it a
dozen times, and with many at a time more stay float than need be."""

MOST_FLOAT: Final = 0.25
"""Largest share of a model's multiply-accumulates in float. INT8 is about three times as fast
as FP32 on a CPU: beyond a quarter in float more than half of that gain is lost, and FP16 or
FP32 is the honest answer."""

FloatNodes = dict["Role", frozenset[str]]
"""Nodes that stay float, by model."""


class Layer(NamedTuple):
    """A node that can be quantised.

    Attributes
    ----------
    node
        Its name.
    op_type
        ``Conv``, ``Add``, ...
    macs
        Its share of the model's multiply-accumulates.
    """

    node: str
    op_type: str
    macs: float


class Effect(NamedTuple):
    """What a layer costs.

    Attributes
    ----------
    layer
        The layer.
    regained
        The model's distance from FP32, less that with this layer in float. Negative where the
        layer's error happens to cancel others.
    """

    layer: Layer
    regained: float


class Round(NamedTuple):
    """One question to the guard.

    Attributes
    ----------
    float_nodes
        What was float.
    verdict
        What the guard said.
    """

    float_nodes: FloatNodes
    verdict: Verdict


def layers(model: ModelProto, names: Sequence[str]) -> tuple[Layer, ...]:
    """Return nodes with their shares of the model's multiply-accumulates.

    Parameters
    ----------
    model
        The float model.
    names
        Names of its nodes.

    Raises
    ------
    BundleError
        If a convolution's shape can't be inferred.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    macs = {node.name: _macs(node, shapes, weights) for node in graph.node}
    total = max(1, sum(macs.values()))
    kinds = {node.name: node.op_type for node in graph.node}
    return tuple(Layer(name, kinds[name], macs[name] / total) for name in names)


def _macs(
    node: onnx.NodeProto, shapes: Mapping[str, list[int]], weights: Mapping[str, list[int]]
) -> int:
    """Count the multiply-accumulates of a slice: weights times places of the output."""
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or node.input[1] not in weights:
        return 0
    weight, output = weights[node.input[1]], shapes.get(node.output[0], [])
    places = output[2:] if node.op_type == "Conv" else output[1:-1]
    if node.op_type == "Conv" and (not places or 0 in places):
        raise BundleError(
            f"the shape of {node.output[0]} can't be inferred (found {output})",
            remedy="export the bundle again",
        )
    count = 1
    for extent in (*weight, *places):
        count *= extent
    return count


def analyse(
    candidates: Mapping[Role, Sequence[Layer]],
    distance: Callable[[FloatNodes], Mapping[Role, float]],
    progress: Callable[[int], None] = lambda _: None,
) -> dict[Role, tuple[Effect, ...]]:
    """Measure every layer's effect.

    Parameters
    ----------
    candidates
        The layers to try, by model. The models don't depend on each other: one layer of each is
        tried in one go.
    distance
        How far each model is from FP32 with these nodes in float.
    progress
        Called with the number of trials done.

    Returns
    -------
    dict
        Effects by model, the largest first; of equal ones the one with fewer
        multiply-accumulates.
    """
    everything: FloatNodes = dict.fromkeys(candidates, frozenset())
    start = distance(everything)
    found: dict[Role, list[Effect]] = {role: [] for role in candidates}
    for number, pair in enumerate(zip_longest(*candidates.values()), 1):
        tried = {
            role: layer for role, layer in zip(candidates, pair, strict=True) if layer is not None
        }
        now = distance(everything | {role: frozenset([one.node]) for role, one in tried.items()})
        for role, layer in tried.items():
            found[role].append(Effect(layer, start[role] - now[role]))
        progress(number)
    return {
        role: tuple(sorted(effects, key=lambda each: (-each.regained, each.layer.macs)))
        for role, effects in found.items()
    }


def roll_back(
    start: FloatNodes,
    guard: Callable[[FloatNodes], Verdict],
    effects: Callable[[], Mapping[Role, Sequence[Effect]]],
    *,
    most_float: float = MOST_FLOAT,
    at_once: int = AT_ONCE,
) -> tuple[Round, ...]:
    """Ask the guard; where it fails, put the worst layers of the blamed model to float; again.

    Parameters
    ----------
    start
        What is float to begin with.
    guard
        The accuracy guard.
    effects
        Gives the layers' effects, the largest first; called once, and only after a failure.
    most_float
        Largest share of a model's multiply-accumulates in float.
    at_once
        Layers a model and round.

    Returns
    -------
    tuple of Round
        The last one passed.

    Raises
    ------
    ParityError
        If no layer is left that regains anything and fits into `most_float`.
    """
    float_nodes = dict(start)
    rounds: list[Round] = []
    queues: dict[Role, _Queue] = {}
    while True:
        verdict = guard(float_nodes)
        rounds.append(Round(dict(float_nodes), verdict))
        if verdict.passed:
            return tuple(rounds)
        queues = queues or {
            role: _Queue(each, most_float, start[role]) for role, each in effects().items()
        }
        taken = {role: queues[role].take(at_once) for role in verdict.blamed}
        if not any(taken.values()):
            raise _refusal(rounds[-1], most_float)
        for role, nodes in taken.items():
            float_nodes[role] |= nodes


class _Queue:
    """The layers of a model that may go to float, the worst first."""

    def __init__(
        self, effects: Sequence[Effect], most_float: float, already: frozenset[str]
    ) -> None:
        self._waiting = deque(
            each.layer for each in effects if each.regained > 0 and each.layer.node not in already
        )
        self._left = most_float - sum(
            each.layer.macs for each in effects if each.layer.node in already
        )

    def take(self, count: int) -> frozenset[str]:
        """Take the next ones that fit; one that does not is passed over for good."""
        taken: set[str] = set()
        while self._waiting and len(taken) < count:
            layer = self._waiting.popleft()
            if layer.macs <= self._left:
                self._left -= layer.macs
                taken.add(layer.node)
        return frozenset(taken)


def _refusal(last: Round, most_float: float) -> ParityError:
    failed = "; ".join(
        f"{figure.name} {figure.measured:.4f}, limit {figure.limit:g}"
        for figure in last.verdict.figures
        if not figure.passed
    )
    count = sum(map(len, last.float_nodes.values()))
    return ParityError(
        f"the accuracy guard does not hold ({failed}) with {count} layers in float, and no other"
        f" layer of the {' and the '.join(last.verdict.blamed)} regains anything and fits",
        accepted=f"models that hold with at most {most_float:.0%} of the multiply-accumulates"
        " in float",
        remedy="try another --method or more --slices, or keep fp32 or fp16; where the loss is"
        " acceptable, say how much with --max-drop and --min-agreement",
    )
