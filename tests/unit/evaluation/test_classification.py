from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve as reference_calibration

from scanside.errors import InputError
from scanside.evaluation.metrics import (
    Confusion,
    auc,
    average_precision,
    brier_score,
    calibration_curve,
    confusion,
    expected_calibration_error,
    roc_curve,
)

# Few distinct scores, so that ties are the rule.
scores = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.55, 0.7, 0.9, 0.999, 1.0]) | st.floats(0, 1)
cases = st.lists(st.tuples(st.booleans(), scores), min_size=1, max_size=40)
both = cases.filter(lambda pairs: len({truth for truth, _ in pairs}) == 2)


def _columns(pairs: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    truth, score = zip(*pairs, strict=True)
    return np.array(truth), np.array(score)


@given(both)
def test_auc_is_that_of_scikit_learn_and_of_every_pair(pairs: list[tuple[bool, float]]) -> None:
    truth, score = _columns(pairs)
    assert auc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))
    difference = score[truth][:, None] - score[~truth]
    assert auc(truth, score) == pytest.approx(np.mean((np.sign(difference) + 1) / 2))


@given(both)
def test_roc_curve_is_that_of_scikit_learn(pairs: list[tuple[bool, float]]) -> None:
    truth, score = _columns(pairs)
    fpr, tpr, threshold = reference.roc_curve(truth, score, drop_intermediate=False)
    curve = roc_curve(truth, score)
    assert curve.false_positive_rate == pytest.approx(fpr)
    assert curve.true_positive_rate == pytest.approx(tpr)
    assert np.array_equal(curve.threshold, threshold)
    area = reference.auc(curve.false_positive_rate, curve.true_positive_rate)
    assert auc(truth, score) == pytest.approx(area)


@given(both)
def test_average_precision_is_that_of_scikit_learn(pairs: list[tuple[bool, float]]) -> None:
    truth, score = _columns(pairs)
    expected = reference.average_precision_score(truth, score)
    assert average_precision(truth, score) == pytest.approx(expected)


@given(both, st.integers(1, 12))
def test_calibration_is_that_of_scikit_learn(pairs: list[tuple[bool, float]], bins: int) -> None:
    truth, score = _columns(pairs)
    observed, predicted = reference_calibration(truth, score, n_bins=bins)
    curve = calibration_curve(truth, score, bins)
    assert [each.observed for each in curve] == pytest.approx(observed)
    assert [each.predicted for each in curve] == pytest.approx(predicted)
    assert sum(each.slices for each in curve) == len(pairs)
    for each in curve:
        assert each.low <= each.predicted <= each.high + 1e-12
    assert brier_score(truth, score) == pytest.approx(reference.brier_score_loss(truth, score))


@given(cases, st.floats(0, 1))
def test_ratios_are_those_of_scikit_learn(pairs: list[tuple[bool, float]], at: float) -> None:
    truth, score = _columns(pairs)
    called = score >= at
    counts = confusion(truth, called)
    tn, fp, fn, tp = reference.confusion_matrix(truth, called, labels=[False, True]).ravel()
    assert counts == Confusion(tp, fp, fn, tn)
    for name in ("precision", "recall", "f1"):
        score_of = getattr(reference, f"{name}_score")
        expected = score_of(truth, called, zero_division=np.nan)
        assert getattr(counts, name) == pytest.approx(expected, nan_ok=True), name
    assert counts.accuracy == pytest.approx(reference.accuracy_score(truth, called))
    negative = reference.recall_score(~truth, ~called, zero_division=np.nan)
    assert counts.specificity == pytest.approx(negative, nan_ok=True)


def test_by_hand() -> None:
    truth, score = [False, True, False, True], [0.1, 0.1, 0.4, 0.9]
    # Pairs: (0.1, 0.1) half, (0.1, 0.4) none, (0.9, 0.1) and (0.9, 0.4) one each.
    assert auc(truth, score) == 2.5 / 4
    # Precision 1 at the first half of recall, 2/4 at the other.
    assert average_precision(truth, score) == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert brier_score(truth, score) == pytest.approx((0.01 + 0.81 + 0.16 + 0.01) / 4)
    # Bins (0, 0.5] and (0.5, 1]: gaps |1/3 - 0.2| and |1 - 0.9|.
    expected = (3 * abs(1 / 3 - 0.2) + 1 * 0.1) / 4
    assert expected_calibration_error(truth, score, bins=2) == pytest.approx(expected)


def test_what_is_not_defined_is_nan() -> None:
    for truth in ([True, True], [False, False]):
        assert math.isnan(auc(truth, [0.2, 0.3]))
    assert math.isnan(average_precision([False, False], [0.2, 0.3]))
    assert average_precision([True, True], [0.2, 0.3]) == 1.0
    assert np.isnan(roc_curve([True, True], [0.2, 0.3]).false_positive_rate).all()
    assert math.isnan(auc([], []))
    assert math.isnan(brier_score([], []))
    assert math.isnan(expected_calibration_error([], []))
    assert calibration_curve([], []) == ()
    nothing = confusion([], [])
    assert all(
        math.isnan(value)
        for value in (nothing.accuracy, nothing.precision, nothing.recall, nothing.f1)
    )


@pytest.mark.parametrize("function", [auc, average_precision, brier_score, roc_curve])
@pytest.mark.parametrize("score", [[0.5, math.nan], [0.5, math.inf], [0.5], [[0.5, 0.5]]])
def test_scores_that_are_none_are_refused(function: object, score: list[float]) -> None:
    with pytest.raises(InputError):
        function([True, False], score)  # type: ignore[operator]


@pytest.mark.parametrize("function", [brier_score, calibration_curve])
def test_probabilities_above_1_are_refused(function: object) -> None:
    with pytest.raises(InputError, match="0 to 1"):
        function([True, False], [0.5, 1.5])  # type: ignore[operator]
