"""The choice of the calibration method, and the recipe that makes an INT8 model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import residual
import toy
from scanside_calibration.derive import named
from scanside_calibration.int8.kinds import kinds
from scanside_calibration.int8.methods import Method, calibrate
from scanside_calibration.int8.placement import quantisable
from scanside_calibration.search import Distance, Recipe, farthest, search

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scanside.contract import Role


class Named(Recipe):
    """A recipe whose file is its name."""

    def __init__(self, name: str) -> None:
        super().__init__(onnx.ModelProto(), name, {})

    def build(self, float_nodes: frozenset[str] = frozenset()) -> bytes:
        assert not float_nodes
        return self.label.encode()


COST = {b"max": 0.5, b"mse": 0.2, b"entropy": 0.2, b"tuned": 0.1, b"spoiled": 0.9}


def measured(models: Mapping[Role, bytes]) -> dict[Role, Distance]:
    return {role: Distance(COST[content], {}) for role, content in models.items()}


def recipes(*names: str) -> list[Recipe]:
    return [Named(name) for name in names]


def test_each_model_gets_the_closest_and_of_equals_the_first() -> None:
    chosen, trials = search(
        {"classifier": recipes("max", "mse", "entropy"), "segmenter": recipes("mse", "max", "max")},
        measured,
    )
    assert {role: recipe.label for role, recipe in chosen.items()} == {
        "classifier": "mse", "segmenter": "mse",
    }  # fmt: skip
    assert [(trial.role, trial.label) for trial in trials if trial.chosen] == [
        ("classifier", "mse"), ("segmenter", "mse"),
    ]  # fmt: skip
    assert len(trials) == 6


@pytest.mark.parametrize(("variant", "wanted"), [("tuned", "tuned"), ("spoiled", "mse")])
def test_a_refinement_is_taken_only_if_it_is_closer(variant: str, wanted: str) -> None:
    asked: list[str] = []

    def refine(_: Role, recipe: Recipe) -> list[Recipe]:
        asked.append(recipe.label)
        return [Named(variant)]

    chosen, trials = search({"segmenter": recipes("max", "mse")}, measured, [refine])
    assert asked == ["mse"], "only the best is refined"
    assert chosen["segmenter"].label == wanted
    assert [trial.label for trial in trials] == ["max", "mse", variant]


def test_each_round_starts_from_what_was_best_before_it() -> None:
    asked: list[tuple[Role, str]] = []

    def vary(names: Mapping[Role, list[str]], role: Role, recipe: Recipe) -> list[Recipe]:
        asked.append((role, recipe.label))
        return recipes(*names[role])

    first = partial(vary, {"classifier": ["spoiled", "tuned"], "segmenter": []})
    last = partial(vary, {"classifier": ["mse"], "segmenter": ["spoiled"]})
    chosen, trials = search(
        {"classifier": recipes("max"), "segmenter": recipes("mse")}, measured, [first, last]
    )
    assert asked == [
        ("classifier", "max"), ("segmenter", "mse"), ("classifier", "tuned"), ("segmenter", "mse"),
    ]  # fmt: skip
    assert {role: recipe.label for role, recipe in chosen.items()} == {
        "classifier": "tuned", "segmenter": "mse",
    }  # fmt: skip
    assert [trial.label for trial in trials if trial.role == "segmenter"] == ["mse", "spoiled"]


def test_the_larger_distance_counts_and_both_are_said() -> None:
    found = {"cpu": Distance(0.1, {"flips": 1}), "unoptimised": Distance(0.3, {"flips": 9})}
    assert farthest(found) == Distance(0.3, {"cpu": 0.1, "unoptimised": 0.3, "flips": 9})
    assert farthest({"cpu": Distance(0.1, {"flips": 1})}) == Distance(0.1, {"flips": 1})


def test_what_is_not_defined_is_never_chosen() -> None:
    distances = {b"max": float("inf"), b"mse": 0.3}
    chosen, _ = search(
        {"classifier": recipes("max", "mse")},
        lambda models: {r: Distance(distances[c], {}) for r, c in models.items()},
    )
    assert chosen["classifier"].label == "mse"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    model = named(toy.classifier())
    batches = [np.stack([toy.lesion_slice(n, lesion=n % 2 == 0) for n in range(4)])]
    ranges = calibrate(model, batches, [Method.MAX])
    return Recipe(model, "max", ranges[Method.MAX])


def test_a_recipe_gives_the_same_file_twice(recipe: Recipe) -> None:
    assert recipe.build() == recipe.build()


def test_what_a_sum_reads_can_have_a_method_of_its_own() -> None:
    model = named(residual.build())
    batches = [residual.images(4)]
    ranges = calibrate(model, batches, [Method.MAX, Method.PERCENTILE_99_9])
    held = {str(method): amax for method, amax in ranges.items()}
    found = kinds(model)
    assert found["sums"] == {"block"}
    assert found["branches"] == {"pooled", "b/y"}
    plain = Recipe(model, "max", held["max"])
    (varied,) = plain.varied("branches", held)
    assert varied.label == "max, branches percentile 99.9"
    before, after = (scales(each.build()) for each in (plain, varied))
    # What comes out of a pool keeps the scale of what went in, whatever its kind.
    assert {name for name in before if before[name] != after[name]} == {"b/y"}
    assert varied.varied("branches", held)[0].build() == plain.build()
    assert plain.varied("a kind that it has not", held) == []


def scales(content: bytes) -> dict[str, float]:
    """The scale of each quantised activation."""
    model = onnx.load_from_string(content)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        node.input[0]: float(held[node.input[1]])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_a_model_without_sums_has_no_kinds() -> None:
    assert kinds(named(toy.classifier())) == {}


def test_layers_in_float_keep_their_weights_and_their_own_biases(recipe: Recipe) -> None:
    nodes = frozenset(quantisable(named(toy.classifier())))
    assert nodes == {"Conv#4"}
    batches = [np.stack([toy.lesion_slice(n) for n in range(4)])]
    (corrected,) = recipe.corrected(batches)
    assert corrected.corrected(batches) == []
    assert corrected.label == "max, biases corrected"
    int8 = onnx.load_from_string(corrected.build())
    names = {tensor.name for tensor in int8.graph.initializer}
    assert any(name.endswith("corrected_bias") for name in names)
    rolled = onnx.load_from_string(corrected.build(nodes))
    held = {t.name: numpy_helper.to_array(t) for t in rolled.graph.initializer}
    assert not any(name.endswith("corrected_bias") for name in held)
    assert held["mix"].dtype == np.float32
