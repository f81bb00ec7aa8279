"""How well a probability tells positive slices from negative ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scanside.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CalibrationBin",
    "Confusion",
    "RocCurve",
    "auc",
    "average_precision",
    "brier_score",
    "calibration_curve",
    "confusion",
    "expected_calibration_error",
    "roc_curve",
]


class Confusion(NamedTuple):
    """Counts of decisions against the truth. A ratio with nothing below the line is ``nan``.

    Attributes
    ----------
    tp, fp, fn, tn
        True positives, false positives, false negatives, true negatives.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def accuracy(self) -> float:
        """Share of right decisions."""
        return _ratio(self.tp + self.tn, sum(self))

    @property
    def precision(self) -> float:
        """Share of the positive decisions that are right; ``nan`` without any."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Sensitivity: share of the positives that are found; ``nan`` without positives."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of the negatives that are left alone; ``nan`` without negatives."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; ``nan`` if nothing is or is called positive."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


class RocCurve(NamedTuple):
    """The receiver operating characteristic, from (0, 0) to (1, 1).

    Attributes
    ----------
    false_positive_rate, true_positive_rate
        float64, ``[K]``; ``nan`` where there is none of the class.
    threshold
        float64, ``[K]``, falling: the point is that of ``score >= threshold``. The first is
        ``inf``, then each distinct score.
    """

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    threshold: NDArray[np.float64]


class CalibrationBin(NamedTuple):
    """One bin of a reliability diagram.

    Attributes
    ----------
    low, high
        The bin holds ``low < probability <= high`` (the first one 0 too).
    slices
        How many are in the bin; none of the bins returned is empty.
    predicted, observed
        Mean probability and share of positives.
    """

    low: float
    high: float
    slices: int
    predicted: float
    observed: float


def confusion(truth: ArrayLike, predicted: ArrayLike) -> Confusion:
    """Count decisions against the truth.

    Parameters
    ----------
    truth, predicted
        bool, ``[N]``.
    """
    true = np.asarray(truth, dtype=bool)
    called = np.asarray(predicted, dtype=bool)
    if true.shape != called.shape:
        raise InputError(f"{true.shape} truths for {called.shape} decisions", accepted="one each")
    return Confusion(
        tp=int(np.sum(true & called)),
        fp=int(np.sum(~true & called)),
        fn=int(np.sum(true & ~called)),
        tn=int(np.sum(~true & ~called)),
    )


def roc_curve(truth: ArrayLike, score: ArrayLike) -> RocCurve:
    """Return the ROC curve, equal scores in one step.

    Parameters
    ----------
    truth
        bool, ``[N]``.
    score
        Finite, ``[N]``; larger means more likely positive.
    """
    tp, fp, threshold = _cumulative(*_checked(truth, score))
    with np.errstate(invalid="ignore"):
        return RocCurve(
            np.concatenate(([0.0], fp)) / fp[-1:].sum(),
            np.concatenate(([0.0], tp)) / tp[-1:].sum(),
            np.concatenate(([np.inf], threshold)),
        )


def auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Return the area under the ROC curve.

    It is the Mann-Whitney statistic: the chance that a positive scores above a negative, with
    half a point for a tie. ``nan`` unless there are both.

    Parameters
    ----------
    truth
        bool, ``[N]``.
    score
        Finite, ``[N]``.

    References
    ----------
    Hanley, McNeil (1982): The meaning and use of the area under a receiver operating
    characteristic (ROC) curve. Radiology 143.
    """
    true, values = _checked(truth, score)
    positive, negative = values[true], np.sort(values[~true])
    if not positive.size or not negative.size:
        return float("nan")
    below = np.searchsorted(negative, positive, "left")
    not_above = np.searchsorted(negative, positive, "right")
    return float((below + not_above).sum() / (2 * positive.size * negative.size))


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Return the mean precision over the recall gained at each distinct score.

    No interpolation, so that it is not too kind; ``nan`` without positives.

    Parameters
    ----------
    truth
        bool, ``[N]``.
    score
        Finite, ``[N]``.
    """
    true, values = _checked(truth, score)
    if not true.any():
        return float("nan")
    tp, fp, _ = _cumulative(true, values)
    gained = np.diff(tp, prepend=0.0)
    return float(np.sum(gained * tp / (tp + fp)) / tp[-1])


def brier_score(truth: ArrayLike, probability: ArrayLike) -> float:
    """Return the mean squared difference of probability and truth; ``nan`` of nothing.

    Parameters
    ----------
    truth
        bool, ``[N]``.
    probability
        From 0 to 1, ``[N]``.

    References
    ----------
    Brier (1950): Verification of forecasts expressed in terms of probability. Monthly Weather
    Review 78.
    """
    true, values = _checked_probability(truth, probability)
    return float(np.mean((values - true) ** 2)) if values.size else float("nan")


def calibration_curve(
    truth: ArrayLike, probability: ArrayLike, bins: int = 10
) -> tuple[CalibrationBin, ...]:
    """Compare probabilities with what happened, in bins of equal width.

    Parameters
    ----------
    truth
        bool, ``[N]``.
    probability
        From 0 to 1, ``[N]``.
    bins
        How many bins 0 to 1 is cut into.

    Returns
    -------
    tuple of CalibrationBin
        The bins that are not empty, rising.
    """
    true, values = _checked_probability(truth, probability)
    edges = np.linspace(0.0, 1.0, bins + 1)
    where = np.searchsorted(edges[1:-1], values, "left")
    return tuple(
        CalibrationBin(
            low=float(edges[at]),
            high=float(edges[at + 1]),
            slices=int(np.sum(inside)),
            predicted=float(np.mean(values[inside])),
            observed=float(np.mean(true[inside])),
        )
        for at in range(bins)
        if (inside := where == at).any()
    )


def expected_calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = 10) -> float:
    """Return the mean gap of the reliability diagram, by slices; ``nan`` of nothing.

    Parameters
    ----------
    truth, probability, bins
        As in `calibration_curve`.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017): On calibration of modern neural networks. ICML.
    """
    curve = calibration_curve(truth, probability, bins)
    gaps = sum(each.slices * abs(each.observed - each.predicted) for each in curve)
    return _ratio(gaps, sum(each.slices for each in curve))


def _ratio(over: float, under: float) -> float:
    return over / under if under else float("nan")


def _checked(truth: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    true = np.asarray(truth, dtype=bool)
    values = np.asarray(score, dtype=np.float64)
    if true.ndim != 1 or true.shape != values.shape:
        raise InputError(f"{true.shape} truths for {values.shape} scores", accepted="[N] and [N]")
    if bad := int(np.sum(~np.isfinite(values))):
        raise InputError(f"{bad} of {values.size} scores are NaN or infinite", accepted="numbers")
    return true, values


def _checked_probability(
    truth: ArrayLike, probability: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    true, values = _checked(truth, probability)
    if values.size and (values.min() < 0 or values.max() > 1):
        raise InputError(
            f"probabilities from {values.min():g} to {values.max():g}", accepted="0 to 1"
        )
    return true, values


def _cumulative(
    true: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Count true and false positives at each distinct score, from the highest down."""
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], true[order]
    last = np.flatnonzero(np.diff(ranked, append=np.nan) != 0)
    tp = np.cumsum(hits, dtype=np.float64)[last]
    return tp, last + 1.0 - tp, ranked[last]
