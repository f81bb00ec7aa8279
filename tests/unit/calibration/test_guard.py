"""The accuracy guard: what passes, what fails, and which model a loss is laid to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.contract import Thresholds
from scanside.errors import InputError, UsageError
from scanside.evaluation.gating import Outcomes
from scanside.evaluation.metrics import overlap
from scanside_calibration.guard import LIMITS, judge, limits_with
from scanside_calibration.observe import Mask, Observed

if TYPE_CHECKING:
    from numpy.typing import NDArray

THRESHOLDS = Thresholds(gate=0.3, decision=0.9, mask=0.5, chosen="by hand")
SIDE = 40


def disc(radius: int, shift: int = 0) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    mask: NDArray[np.bool_] = rows**2 + (columns - shift) ** 2 < radius**2
    return mask


def observed(
    probabilities: list[float], masks: list[NDArray[np.bool_]], true: list[NDArray[np.bool_]]
) -> Observed:
    """Two patients, their slices in turn."""
    pixels = np.array([overlap(a, b) for a, b in zip(masks, true, strict=True)], np.int64)
    outcomes = Outcomes(np.arange(len(masks)) % 2, np.array(probabilities, float), *pixels.T.copy())
    return Observed(outcomes, tuple(map(Mask.of, masks)))


TRUE = [disc(8), disc(8), disc(0), disc(0)]
SURE = [0.95, 0.9, 0.1, 0.2]


def test_equal_outputs_pass_even_with_limits_of_nothing() -> None:
    strict = {name: 0.0 if name.endswith("drop") else 1.0 for name in LIMITS}
    same = observed(SURE, TRUE, TRUE)
    verdict = judge(same, same, THRESHOLDS, strict)
    assert verdict.passed
    assert verdict.blamed == ()
    assert verdict.compared == 2
    assert verdict.measured() == {
        "dice_drop": 0, "auc_drop": 0, "sensitivity_drop": 0,
        "agreement_mean": 1, "agreement_p5": 1,
    }  # fmt: skip


def test_a_lesion_lost_at_the_gate_is_the_classifiers_fault() -> None:
    verdict = judge(
        observed(SURE, TRUE, TRUE), observed([0.95, 0.29, 0.1, 0.2], TRUE, TRUE), THRESHOLDS, LIMITS
    )
    failed = {figure.name: figure.measured for figure in verdict.figures if not figure.passed}
    assert failed == {"sensitivity_drop": 0.5, "dice_drop": 0.5}
    assert verdict.blamed == ("classifier",)


def test_a_loss_in_the_other_arithmetic_alone_fails_too() -> None:
    same, lost = observed(SURE, TRUE, TRUE), observed([0.95, 0.29, 0.1, 0.2], TRUE, TRUE)
    held, failed = (judge(same, each, THRESHOLDS, LIMITS) for each in (same, lost))
    for joined in (held.joined(failed, "other"), failed.joined(held, "other")):
        assert not joined.passed
        assert joined.blamed == ("classifier",)
    joined = held.joined(failed, "other")
    assert joined.measured() == held.measured()
    assert joined.measured("other") == failed.measured()
    assert held.joined(held, "other").passed


def test_masks_that_moved_are_the_segmenters_fault() -> None:
    moved = [disc(8, 4), disc(8, 4), disc(0), disc(0)]
    verdict = judge(observed(SURE, TRUE, TRUE), observed(SURE, moved, TRUE), THRESHOLDS, LIMITS)
    failed = {figure.name for figure in verdict.figures if not figure.passed}
    assert failed == {"dice_drop", "agreement_mean", "agreement_p5"}
    assert verdict.blamed == ("segmenter",)


def test_one_bad_slice_in_few_shows_in_the_percentile() -> None:
    true = [disc(8)] * 9 + [disc(0)]
    masks = [disc(8)] * 8 + [disc(8, 3), disc(0)]
    sure = [0.9] * 9 + [0.1]
    verdict = judge(observed(sure, true, true), observed(sure, masks, true), THRESHOLDS, LIMITS)
    by_name = {figure.name: figure.passed for figure in verdict.figures}
    assert by_name["agreement_mean"]
    assert not by_name["agreement_p5"]


def test_false_regions_of_fp32_count_in_the_agreement_and_small_ones_do_not() -> None:
    false_region = [disc(8), disc(8), disc(7), disc(3)]
    other = [disc(8), disc(8), disc(0), disc(0)]
    verdict = judge(
        observed(SURE, false_region, TRUE), observed(SURE, other, TRUE), THRESHOLDS, LIMITS
    )
    assert verdict.compared == 3
    assert verdict.measured()["agreement_mean"] == pytest.approx(2 / 3)


def test_a_gain_never_fails() -> None:
    worse = observed([0.95, 0.2, 0.1, 0.25], [disc(6), disc(6), disc(0), disc(0)], TRUE)
    better = observed(SURE, [disc(6), disc(6), disc(0), disc(0)], TRUE)
    assert judge(worse, better, THRESHOLDS, LIMITS).passed


def test_a_drop_of_exactly_the_limit_passes() -> None:
    before, after = observed(SURE, TRUE, TRUE), observed([0.95, 0.29, 0.1, 0.2], TRUE, TRUE)
    assert judge(
        before, after, THRESHOLDS, limits_with({"sensitivity_drop": 0.5, "dice_drop": 0.5})
    ).passed


@pytest.mark.parametrize("true", [[disc(8)] * 4, [disc(0)] * 4])
def test_slices_of_one_class_measure_nothing(true: list[NDArray[np.bool_]]) -> None:
    one = observed(SURE, TRUE, true)
    with pytest.raises(InputError, match="positive"):
        judge(one, one, THRESHOLDS, LIMITS)


def test_a_segmenter_that_outlines_nothing_is_not_in_perfect_agreement() -> None:
    empty = observed(SURE, [disc(0)] * 4, TRUE)
    with pytest.raises(InputError, match="can't be compared"):
        judge(empty, empty, THRESHOLDS, LIMITS)


@pytest.mark.parametrize(
    ("name", "value"), [("dise_drop", 0.1), ("dice_drop", -0.1), ("auc_drop", float("nan"))]
)
def test_limits_are_checked(name: str, value: float) -> None:
    with pytest.raises(UsageError, match="dice_drop"):
        limits_with({name: value})


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_packed_masks_overlap_as_masks_do(height: int, width: int, seed: int) -> None:
    one, other = np.random.default_rng(seed).random((2, height, width)) < 0.4
    assert Mask.of(one).overlap(Mask.of(other)) == overlap(one, other)
