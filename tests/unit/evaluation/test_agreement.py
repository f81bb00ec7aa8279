"""Tallies of two sets of outputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scanside.errors import InputError, UsageError
from scanside.evaluation.agreement import MaskAgreement, ProbabilityAgreement
from scanside.evaluation.metrics import Overlap

PAIRS = hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(1, 40)), elements=st.floats(0, 1))
STACKS = hnp.arrays(np.bool_, (2, 5, 6, 7))


@given(PAIRS, st.floats(0, 1), st.floats(0, 1))
def test_probabilities_one_by_one_and_at_once_agree_with_numpy(
    pair: np.ndarray, gate: float, other_gate: float
) -> None:
    at_once, by_one = (ProbabilityAgreement(gate, other_gate) for _ in range(2))
    at_once.add(pair[0][:, None], pair[1][:, None])
    for one, other in pair.T:
        by_one.add(one, other)
    assert at_once.spread() == by_one.spread()
    apart = np.abs(pair[0] - pair[1])
    wanted = (len(apart), apart.mean(), np.percentile(apart, 99), apart.max())
    assert at_once.spread() == pytest.approx(wanted)
    flips = int(((pair[0] >= gate) != (pair[1] >= other_gate)).sum())
    assert at_once.gate_flips == by_one.gate_flips == flips


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.01, 1.01])
def test_an_output_that_is_no_probability_is_refused_and_not_counted(bad: float) -> None:
    tally = ProbabilityAgreement(0.5)
    for pair in ((0.5, bad), (bad, 0.5)):
        with pytest.raises(InputError, match="NaN, infinite or not from 0 to 1"):
            tally.add(*pair)
    assert tally.spread().slices == 0
    with pytest.raises(InputError, match="2 probabilities against 1"):
        tally.add([0.1, 0.2], [0.1])


@given(STACKS, st.integers(1, 42))
def test_masks_agree_with_the_definition_of_dice(stacks: np.ndarray, min_px: int) -> None:
    tally = MaskAgreement(min_px)
    found = tally.add(*stacks)
    wanted = []
    for one, other in stacks.transpose(1, 0, 2, 3):
        total = one.sum() + other.sum()
        wanted.append(2 * (one & other).sum() / total if total else 1.0)
    assert found == pytest.approx(wanted)
    sizes = stacks.sum(axis=(2, 3)).max(axis=0)
    kept = np.array(wanted)[sizes >= min_px]
    spread = tally.spread()
    assert spread.slices == kept.size
    if kept.size:
        assert spread[1:] == pytest.approx((kept.mean(), np.percentile(kept, 5), kept.min()))


def test_the_true_area_decides_where_it_is_given() -> None:
    full, empty = np.ones((10, 20), bool), np.zeros((10, 20), bool)
    tally = MaskAgreement(min_px=100)
    tally.add(full, empty, true_px=99)
    assert tally.spread().slices == 0
    tally.add(np.stack([full, empty]), np.stack([full, empty]), true_px=[100, 99])
    assert tally.spread() == (1, 1.0, 1.0, 1.0)
    assert tally.add_overlap(Overlap(0, 0, 0), true_px=100) == 1.0
    with pytest.raises(InputError, match="1 areas for 2 masks"):
        tally.add(np.stack([full, empty]), np.stack([full, empty]), true_px=5)


def test_of_nothing_there_is_no_figure() -> None:
    assert np.isnan(ProbabilityAgreement(0.5).spread()[1:]).all()
    assert np.isnan(MaskAgreement().spread()[1:]).all()


def test_masks_on_two_grids_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[4, 4\] and \[4, 5\]"):
        MaskAgreement().add(np.ones((4, 4)), np.ones((4, 5)))
    with pytest.raises(UsageError, match="min_px is 0"):
        MaskAgreement(0)
