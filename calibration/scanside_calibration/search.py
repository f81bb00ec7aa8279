"""Which calibration method each model gets: the one that stays closest to FP32, measured.

Methods are compared on patients of the training part whose slices gave no range: choosing on
the calibration slices would favour the method that fits them, and choosing on the validation
patients would favour the one that the accuracy guard likes, which would then prove less.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from onnx import numpy_helper

from scanside.evaluation.agreement import MaskAgreement, ProbabilityAgreement
from scanside.evaluation.metrics import auc, dice
from scanside_calibration.int8.bias import correct_biases
from scanside_calibration.int8.kinds import kinds
from scanside_calibration.int8.placement import quantise
from scanside_calibration.int8.ties import tie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from onnx import ModelProto

    from scanside.contract import Role
    from scanside_calibration.observe import Observed

__all__ = ["Distance", "Recipe", "Trial", "distances", "farthest", "search"]


class Distance(NamedTuple):
    """How far a model is from its FP32 self.

    Attributes
    ----------
    value
        What is compared: for the classifier the mean absolute difference of the probability,
        for the segmenter 1 less the mean Dice of its masks against FP32's. Infinite where it
        is not defined.
    figures
        More about it, and what it does to the task, by name.
    """

    value: float
    figures: dict[str, float]


class Recipe:
    """How an INT8 model is made from its FP32 one.

    Parameters
    ----------
    model
        The FP32 model.
    method
        How the ranges were chosen.
    amax
        The ranges, by tensor.
    biases
        Corrected biases by the name of the convolution; none for the model's own.
    """

    def __init__(
        self,
        model: ModelProto,
        method: str,
        amax: Mapping[str, float],
        biases: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        self._model = model
        self._method = method
        self._amax = amax
        self._biases = dict(biases or {})

    @property
    def label(self) -> str:
        """What a table calls it."""
        return self._method + (", biases corrected" if self._biases else "")

    def varied(self, kind: str, ranges: Mapping[str, Mapping[str, float]]) -> list[Recipe]:
        """Return one recipe for each method by which activations of a kind get another range.

        Parameters
        ----------
        kind
            Of `int8.kinds.kinds`; nothing is varied where the model has none of it.
        ranges
            By method: ranges of all tensors.
        """
        members = kinds(self._model).get(kind, frozenset())
        made = []
        for method, amax in ranges.items():
            mixed = {name: (amax if name in members else self._amax)[name] for name in self._amax}
            tied = tie(self._model, mixed)
            if tied != self._amax:
                made.append(Recipe(self._model, f"{self._method}, {kind} {method}", tied))
        return made

    def build(self, float_nodes: frozenset[str] = frozenset()) -> bytes:
        """Return the ONNX file with these nodes in float.

        Raises
        ------
        UsageError
            If a node is not one that is quantised.
        """
        model = quantise(self._model, self._amax, float_nodes=float_nodes)
        corrected = {name: value for name, value in self._biases.items() if name not in float_nodes}
        _set_biases(model, corrected)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def corrected(self, batches: Iterable[NDArray[np.uint8]]) -> list[Recipe]:
        """Return the same with biases that take back the mean shift of each convolution.

        Parameters
        ----------
        batches
            uint8 ``[N, 256, 256, 3]`` each.

        Returns
        -------
        list of Recipe
            One; none where the biases have been corrected already.
        """
        if self._biases:
            return []
        int8 = quantise(self._model, self._amax)
        biases = _biases(correct_biases(self._model, int8, batches), int8)
        return [Recipe(self._model, self._method, self._amax, biases)]


class Trial(NamedTuple):
    """A recipe that was tried.

    Attributes
    ----------
    role
        Which model.
    label
        The recipe.
    distance
        What it costs.
    chosen
        Whether it is the one.
    """

    role: Role
    label: str
    distance: Distance
    chosen: bool


def distances(fp32: Observed, other: Observed, gate: float) -> dict[Role, Distance]:
    """Measure how far two models are from FP32 on the same labelled slices.

    Parameters
    ----------
    fp32, other
        Outputs in both precisions.
    gate
        The bundle's gate.
    """
    before, after = fp32.outcomes, other.outcomes
    probabilities = ProbabilityAgreement(gate)
    probabilities.add(before.probability, after.probability)
    masks = MaskAgreement()
    for one, two in zip(fp32.masks, other.masks, strict=True):
        masks.add_overlap(two.overlap(one))
    differences, agreed = probabilities.spread(), masks.spread()
    truth = before.true > 0
    return {
        "classifier": Distance(
            _or_inf(differences.mean),
            {
                "largest difference": differences.largest,
                "gate flips": probabilities.gate_flips,
                "AUC drop": auc(truth, before.probability) - auc(truth, after.probability),
            },
        ),
        "segmenter": Distance(
            _or_inf(1 - agreed.mean),
            {
                "agreement": agreed.mean,
                "agreement p5": agreed.p5,
                "Dice drop": _slice_dice(fp32, truth) - _slice_dice(other, truth),
            },
        ),
    }


def farthest(found: Mapping[str, Distance]) -> Distance:
    """Return the largest of a model's distances, with all of them among its figures.

    Parameters
    ----------
    found
        By what computed the model, at least one.
    """
    worst = max(found.values(), key=lambda distance: distance.value)
    every = {name: distance.value for name, distance in found.items()} if len(found) > 1 else {}
    return Distance(worst.value, every | worst.figures)


def search(
    recipes: Mapping[Role, Sequence[Recipe]],
    measure: Callable[[Mapping[Role, bytes]], Mapping[Role, Distance]],
    rounds: Sequence[Callable[[Role, Recipe], Sequence[Recipe]]] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[dict[Role, Recipe], tuple[Trial, ...]]:
    """Try every recipe, then variants of the best in rounds, and take the closest to FP32.

    Parameters
    ----------
    recipes
        By model, equally many: the models don't depend on each other, and one recipe of each
        is measured in one go. Of equally close ones the first is taken.
    measure
        From both ONNX files to the distances.
    rounds
        Each makes variants of the recipe that was best before it; none where it has none.
    progress
        Called with the number of pairs measured.

    Returns
    -------
    chosen : dict
        The recipe of each model.
    trials : tuple of Trial
        All of them.
    """
    tried: dict[Role, list[tuple[Recipe, Distance]]] = {role: [] for role in recipes}
    done = 0

    def attempt(pair: Mapping[Role, Recipe]) -> None:
        nonlocal done
        found = measure({role: recipe.build() for role, recipe in pair.items()})
        for role, recipe in pair.items():
            if all(recipe is not each for each, _ in tried[role]):
                tried[role].append((recipe, found[role]))
        done += 1
        progress(done)

    for row in zip(*recipes.values(), strict=True):
        attempt(dict(zip(recipes, row, strict=True)))
    best = {role: _closest(pairs) for role, pairs in tried.items()}
    for vary in rounds:
        variants = {role: vary(role, recipe) for role, recipe in best.items()}
        for row in zip_longest(*variants.values()):
            # A model with fewer variants is measured as it is: both run in one go.
            attempt({role: made or best[role] for role, made in zip(best, row, strict=True)})
        best = {role: _closest(pairs) for role, pairs in tried.items()}
    trials = tuple(
        Trial(role, recipe.label, distance, recipe is best[role])
        for role, pairs in tried.items()
        for recipe, distance in pairs
    )
    return best, trials


def _closest(pairs: Sequence[tuple[Recipe, Distance]]) -> Recipe:
    return min(pairs, key=lambda pair: pair[1].value)[0]


def _slice_dice(observed: Observed, truth: NDArray[np.bool_]) -> float:
    positive = observed.outcomes.where(truth)
    return float(np.mean(dice(positive.intersection, positive.predicted, positive.true)))


def _or_inf(value: float) -> float:
    return value if np.isfinite(value) else float("inf")


def _biases(corrected: ModelProto, plain: ModelProto) -> dict[str, NDArray[np.float32]]:
    """Return the biases that differ, by the name of the convolution."""
    before = {node.name: list(node.input) for node in plain.graph.node}
    held = {tensor.name: tensor for tensor in corrected.graph.initializer}
    return {
        node.name: numpy_helper.to_array(held[node.input[2]])
        for node in corrected.graph.node
        if node.op_type == "Conv" and list(node.input) != before[node.name]
    }


def _set_biases(model: ModelProto, biases: Mapping[str, NDArray[np.float32]]) -> None:
    """Give convolutions other biases, each a constant of its own."""
    graph = model.graph
    for node in graph.node:
        if node.name in biases:
            name = f"{node.name}/corrected_bias"
            graph.initializer.append(numpy_helper.from_array(biases[node.name], name))
            del node.input[2:]
            node.input.append(name)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)
