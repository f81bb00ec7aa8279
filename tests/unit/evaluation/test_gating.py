from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scanside.contract import Thresholds
from scanside.errors import InputError, UsageError
from scanside.evaluation.gating import (
    Outcomes,
    choose_decision,
    choose_gate,
    cost_curve,
    gate_point,
    volumes,
)
from scanside.evaluation.metrics import dice
from scanside.gate import Route, decide, route

probabilities = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]) | st.floats(0, 1, width=32)
rows = st.tuples(
    st.integers(0, 4),  # patient
    probabilities,
    st.integers(0, 200),  # intersection
    st.integers(0, 3),  # predicted beyond it
    st.sampled_from([0, 0, 1, 99, 150]),  # true beyond it
)


def _outcomes(table: list[tuple[int, float, int, int, int]]) -> Outcomes:
    patient, probability, common, more_predicted, more_true = (
        np.array(column) for column in zip(*table, strict=True)
    )
    # One slice in two is segmented to nothing or is without tumour.
    common = common * (common % 2)
    return Outcomes(
        patient=patient.astype(np.int64),
        probability=probability.astype(np.float64),
        intersection=common,
        predicted=common + more_predicted,
        true=common + more_true,
    )


outcomes_of = st.lists(rows, min_size=1, max_size=40).map(_outcomes)


@given(outcomes_of, probabilities, probabilities)
def test_a_point_is_what_the_gate_decides_slice_by_slice(
    outcomes: Outcomes, one: float, other: float
) -> None:
    gate, decision = sorted((one, other))
    thresholds = Thresholds(gate=gate, decision=decision, mask=0.5, chosen="test")
    point = gate_point(outcomes, gate, decision)
    routes = [route(each, thresholds) for each in outcomes.probability.tolist()]
    skipped = [each is Route.SKIP for each in routes]
    statuses = [
        decide(probability, thresholds, None if skip else area).status
        for probability, area, skip in zip(
            outcomes.probability.tolist(), outcomes.predicted.tolist(), skipped, strict=True
        )
    ]
    assert point.skipped == pytest.approx(np.mean(skipped))
    assert point.indeterminate == pytest.approx(np.mean([s == "indeterminate" for s in statuses]))
    found = [not skip for skip, true in zip(skipped, outcomes.true, strict=True) if true]
    expected = np.mean(found) if found else math.nan
    assert point.sensitivity == pytest.approx(expected, nan_ok=True)


@given(outcomes_of, st.lists(probabilities, min_size=2, max_size=6).map(sorted))
def test_a_higher_gate_skips_more_and_finds_less(outcomes: Outcomes, gates: list[float]) -> None:
    points = cost_curve(outcomes, gates, decision=0.5)
    assert [point.gate for point in points] == gates
    for low, high in pairwise(points):
        assert low.skipped <= high.skipped
        assert low.indeterminate >= high.indeterminate
        if not math.isnan(low.sensitivity):
            assert low.sensitivity >= high.sensitivity
    assert all(point.decision >= point.gate for point in points)


def test_volume_dice_by_hand() -> None:
    outcomes = Outcomes(
        patient=np.array([7, 7, 3, 3]),
        probability=np.array([0.9, 0.1, 0.8, 0.2]),
        intersection=np.array([50, 30, 0, 0]),
        predicted=np.array([60, 40, 10, 5]),
        true=np.array([70, 30, 0, 0]),
    )
    # In the order of the patients' numbers: 3, without tumour, then 7.
    assert dice(*volumes(outcomes, 0.0)).tolist() == pytest.approx([0, 2 * 80 / 200])
    assert dice(*volumes(outcomes, 0.5)).tolist() == pytest.approx([0, 2 * 50 / 160])
    assert dice(*volumes(outcomes, 0.85)).tolist() == pytest.approx([1, 2 * 50 / 160])
    point = gate_point(outcomes, 0.5, 0.5, min_px=50)
    assert point.sensitivity == 0.5
    assert point.lesion_sensitivity == 1.0
    assert point.skipped == 0.5
    assert point.indeterminate == 0.0
    assert point.volume_dice == pytest.approx(2 * 50 / 160 / 2)


def test_lesions_are_of_at_least_the_given_size() -> None:
    probability = np.array([0.1, 0.2, 0.9])
    true = np.array([99, 100, 101])
    assert choose_gate(probability, true, sensitivity=1.0) == 0.2
    assert choose_gate(probability, true, sensitivity=1.0, min_px=99) == 0.1
    assert choose_gate(probability, true, sensitivity=1.0, min_px=0) == 0.1


@given(outcomes_of, st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]) | st.floats(0.01, 1))
def test_the_gate_attains_the_sensitivity_and_the_next_one_does_not(
    outcomes: Outcomes, sensitivity: float
) -> None:
    lesions = outcomes.true >= 100
    assume(lesions.any())
    gate = choose_gate(outcomes.probability, outcomes.true, sensitivity=sensitivity)
    attained = np.mean(outcomes.probability[lesions] >= gate)
    assert attained >= sensitivity - 1e-6
    assert np.mean(outcomes.probability[lesions] > gate) < sensitivity
    assert gate in outcomes.probability[lesions]


@pytest.mark.parametrize(("sensitivity", "gate"), [(0.9, 0.1), (0.8, 0.2), (0.91, 0.0), (1, 0.0)])
def test_round_shares_miss_as_many_as_they_may(sensitivity: float, gate: float) -> None:
    probability = np.arange(10) / 10
    assert choose_gate(probability, np.full(10, 500), sensitivity=sensitivity) == gate


def test_a_gate_that_cannot_be_chosen_is_refused() -> None:
    probability = np.array([0.2, 0.8])
    with pytest.raises(InputError, match="none of 2 slices has a lesion of 100 pixels"):
        choose_gate(probability, np.array([0, 99]), sensitivity=0.9)
    with pytest.raises(InputError, match="none of 2"):
        choose_gate(probability, np.array([0, 0]), sensitivity=0.9, min_px=0)
    for sensitivity in (0, -1, 1.01, math.nan):
        with pytest.raises(UsageError, match="sensitivity"):
            choose_gate(probability, np.array([0, 500]), sensitivity=sensitivity)
    with pytest.raises(InputError, match="1 of 2 probabilities"):
        choose_gate(np.array([0.2, math.nan]), np.array([0, 500]), sensitivity=0.9)


@given(outcomes_of, probabilities, st.floats(0, 0.5))
def test_the_decision_leaves_no_more_indeterminate_than_wanted(
    outcomes: Outcomes, gate: float, most: float
) -> None:
    certain = np.sum((outcomes.probability >= 1) & (outcomes.predicted == 0))
    assume(certain <= most * outcomes.probability.size)
    decision = choose_decision(outcomes, gate, most=most)
    assert gate <= decision <= 1
    assert gate_point(outcomes, gate, decision).indeterminate <= most + 1e-6
    # And it is no higher than it has to be: to lower it past the next slice is too much.
    unsure = outcomes.probability[(outcomes.predicted == 0) & (outcomes.probability >= gate)]
    below = unsure[unsure < decision]
    if below.size:
        assert gate_point(outcomes, gate, float(below.max())).indeterminate > most


def test_decision_by_hand() -> None:
    outcomes = Outcomes(
        patient=np.zeros(10, np.int64),
        probability=np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]),
        intersection=np.zeros(10, np.int64),
        predicted=np.array([0, 0, 0, 0, 0, 0, 0, 0, 9, 9]),
        true=np.zeros(10, np.int64),
    )
    assert choose_decision(outcomes, 0.35, most=0.5) == 0.35
    assert choose_decision(outcomes, 0.35, most=0.2) == pytest.approx(0.65)
    assert choose_decision(outcomes, 0.35, most=0.0) == pytest.approx(0.9)


def test_a_decision_that_cannot_be_chosen_is_refused() -> None:
    zero = np.zeros(2, np.int64)
    outcomes = Outcomes(zero, np.array([1.0, 0.5]), zero, zero, zero)
    with pytest.raises(InputError, match="1 of 2 slices have an empty mask"):
        choose_decision(outcomes, 0.1, most=0.4)
    assert choose_decision(outcomes, 0.1, most=0.5) == 0.75
    with pytest.raises(UsageError, match="share"):
        choose_decision(outcomes, 0.1, most=-0.1)


def test_a_point_that_makes_no_sense_is_refused() -> None:
    zero = np.zeros(1, np.int64)
    good = Outcomes(zero, np.array([0.5]), zero, zero, zero)
    with pytest.raises(UsageError, match="decision >= gate"):
        gate_point(good, 0.5, 0.4)
    with pytest.raises(InputError, match="NaN"):
        gate_point(good._replace(probability=np.array([math.nan])), 0.5, 0.5)
    empty = Outcomes(*(column[:0] for column in good))
    with pytest.raises(InputError, match="no slice"):
        gate_point(empty, 0.5, 0.5)
    point = gate_point(good, 0.6, 0.6)
    assert math.isnan(point.sensitivity)
    assert math.isnan(point.lesion_sensitivity)
    assert point.skipped == 1.0
    assert point.volume_dice == 1.0
