from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from scanside.errors import InputError, UsageError
from scanside.evaluation.bootstrap import bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence


def _mean(patients: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(patients))}


def test_interval_is_that_of_scipy() -> None:
    patients = np.random.default_rng(1).normal(size=60)
    ours = bootstrap(patients.tolist(), _mean, seed=2, resamples=4000)["mean"]
    theirs = stats.bootstrap(
        (patients,), np.mean, method="percentile", n_resamples=4000, rng=3
    ).confidence_interval
    assert ours.value == pytest.approx(patients.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)
    assert ours.undefined == 0


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        sample = random.normal(size=40).tolist()
        estimate = bootstrap(sample, _mean, seed=trial, resamples=200, level=0.9)["mean"]
        hits += estimate.low <= 0 <= estimate.high
    assert 0.82 <= hits / 200 <= 0.95


def test_a_seed_gives_one_interval_and_figures_share_their_draws() -> None:
    def both(patients: Sequence[float]) -> dict[str, float]:
        return {"one": float(np.mean(patients)), "twice": 2 * float(np.mean(patients))}

    patients = list(np.linspace(0, 1, 20))
    first = bootstrap(patients, both, seed=7)
    assert first == bootstrap(patients, both, seed=7)
    assert first != bootstrap(patients, both, seed=8)
    assert first["twice"] == tuple(pytest.approx(2 * value) for value in first["one"])


def test_patients_of_any_form_are_drawn_whole() -> None:
    patients = [(1, 2, 3), (4,), (5, 6)]
    seen: set[tuple[int, ...]] = set()

    def note(drawn: Sequence[tuple[int, ...]]) -> dict[str, float]:
        assert len(drawn) == 3
        seen.update(drawn)
        return {"slices": float(sum(len(each) for each in drawn))}

    estimate = bootstrap(patients, note, seed=0, resamples=50)["slices"]
    assert seen == set(patients)
    assert estimate.value == 6
    assert 3 <= estimate.low < 6 < estimate.high <= 9


def test_one_patient_has_no_interval() -> None:
    estimate = bootstrap([3.0], _mean, seed=0)["mean"]
    assert estimate.value == 3.0
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_resamples_without_a_figure_are_counted() -> None:
    def share(patients: Sequence[float]) -> dict[str, float]:
        positive = [each for each in patients if each > 0]
        return {"mean": float(np.mean(positive)) if positive else math.nan}

    estimate = bootstrap([2.0, 0.0], share, seed=0)["mean"]
    assert estimate.value == estimate.low == estimate.high == 2.0
    assert estimate.undefined == pytest.approx(0.25, abs=0.05)
    nothing = bootstrap([0.0, 0.0], share, seed=0)["mean"]
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.low)
    assert nothing.undefined == 1.0


def test_infinite_figures_have_infinite_ends() -> None:
    def worst(patients: Sequence[float]) -> dict[str, float]:
        return {"worst": max(patients)}

    estimate = bootstrap([1.0] * 9 + [math.inf], worst, seed=0)["worst"]
    assert estimate[:3] == (math.inf, 1.0, math.inf)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="no patient"):
        bootstrap([], _mean, seed=0)
    for resamples, level in ((0, 0.95), (10, 0.0), (10, 1.0), (10, math.nan)):
        with pytest.raises(UsageError, match="resamples"):
            bootstrap([1.0, 2.0], _mean, seed=0, resamples=resamples, level=level)
