"""From counts per slice to figures with intervals: pure functions, no file and no model."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.evaluation.gating import MIN_LESION_PX, Outcomes, gate_point, volumes
from scanside.evaluation.metrics import (
    auc,
    average_precision,
    brier_score,
    confusion,
    dice,
    expected_calibration_error,
    iou,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside.contract import Thresholds
    from scanside_training.measure import Measured

__all__ = [
    "SIZES",
    "Patient",
    "SizeBin",
    "by_patient",
    "decided",
    "figures",
    "outcomes_of",
    "size_figures",
]

_HALF: Final = 0.5
"""The usual operating point of a classifier, beside the gate."""

_SIZE_EDGES: Final = (1, MIN_LESION_PX, 500, 1000, 2000, 4000)


class SizeBin(NamedTuple):
    """Lesions by their area in a slice: ``low <= pixels < high``; the last is open."""

    low: float
    high: float

    @property
    def label(self) -> str:
        """For instance ``100-499`` or ``4000+``."""
        return f"{self.low:g}+" if self.high == np.inf else f"{self.low:g}-{self.high - 1:g}"

    def holds(self, pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which of these areas are in the bin."""
        return (pixels >= self.low) & (pixels < self.high)


SIZES: Final = tuple(SizeBin(low, high) for low, high in pairwise((*_SIZE_EDGES, np.inf)))
"""The bins of everything that is told by lesion size."""


class Patient(NamedTuple):
    """A patient's slices as columns.

    Attributes
    ----------
    name
        The patient.
    outcomes
        Counts, one value a slice.
    hd95
        float64, ``[N]``: in pixels, as in `Measured`.
    """

    name: str
    outcomes: Outcomes
    hd95: NDArray[np.float64]


def by_patient(measured: Sequence[Measured]) -> tuple[Patient, ...]:
    """Group measured slices by patient, sorted by name."""
    groups: dict[str, list[Measured]] = {}
    for each in measured:
        groups.setdefault(each.item.patient, []).append(each)
    return tuple(_patient(name, groups[name]) for name in sorted(groups))


def _patient(name: str, slices: list[Measured]) -> Patient:
    pixels = np.array([each.overlap for each in slices], np.int64)
    return Patient(
        name,
        Outcomes(
            patient=np.zeros(len(slices), np.int64),
            probability=np.array([each.probability for each in slices], np.float64),
            intersection=pixels[:, 0],
            predicted=pixels[:, 1],
            true=pixels[:, 2],
        ),
        np.array([each.hd95 for each in slices], np.float64),
    )


def outcomes_of(patients: Sequence[Patient]) -> Outcomes:
    """Join patients' slices; one that is there twice (a bootstrap's draw) counts as two."""
    every = [patient.outcomes for patient in patients]
    return Outcomes(
        patient=np.repeat(np.arange(len(every)), [each.true.size for each in every]),
        probability=np.concatenate([each.probability for each in every]),
        intersection=np.concatenate([each.intersection for each in every]),
        predicted=np.concatenate([each.predicted for each in every]),
        true=np.concatenate([each.true for each in every]),
    )


def figures(patients: Sequence[Patient], thresholds: Thresholds) -> dict[str, float]:
    """Return every figure of these patients by a dotted name; ``nan`` where not defined.

    Parameters
    ----------
    patients
        Measured patients, at least one.
    thresholds
        Gate and decision; the masks were cut already.

    Returns
    -------
    dict of str to float
        ``classifier.*``: of the probability alone. ``segmenter.*``: on positive slices alone,
        without a gate. ``pipeline.*``: after gating, on all slices; a skipped slice counts as
        an empty mask. ``by_size.<bin>.*``: on positive slices by lesion size.
    """
    outcomes = outcomes_of(patients)
    hd95 = np.concatenate([patient.hd95 for patient in patients])
    groups = {
        "classifier": _classifier(outcomes, thresholds.gate),
        "segmenter": _segmenter(outcomes, hd95),
        "pipeline": _pipeline(outcomes, hd95, thresholds),
    }
    groups |= {f"by_size.{each.label}": size_figures(outcomes, each, thresholds) for each in SIZES}
    return {f"{group}.{name}": value for group, by in groups.items() for name, value in by.items()}


def size_figures(outcomes: Outcomes, size: SizeBin, thresholds: Thresholds) -> dict[str, float]:
    """Return what becomes of the positive slices with lesions of one size.

    Returns
    -------
    dict of str to float
        ``slices``: how many; ``sensitivity_at_gate``: the share that passes the gate; ``found``:
        the share with a mask after gating; ``indeterminate``: the share that is; ``slice_dice``:
        mean, without a gate.
    """
    inside = size.holds(outcomes.true)
    found, unsure = decided(outcomes, thresholds)
    passed = outcomes.probability >= thresholds.gate
    per_slice = dice(outcomes.intersection, outcomes.predicted, outcomes.true)
    return {
        "slices": float(inside.sum()),
        "sensitivity_at_gate": _mean(passed[inside]),
        "found": _mean(found[inside]),
        "indeterminate": _mean(unsure[inside]),
        "slice_dice": _mean(per_slice[inside]),
    }


def _classifier(outcomes: Outcomes, gate: float) -> dict[str, float]:
    truth, probability = outcomes.true > 0, outcomes.probability
    result = {
        "auc": auc(truth, probability),
        "average_precision": average_precision(truth, probability),
        "brier": brier_score(truth, probability),
        "expected_calibration_error": expected_calibration_error(truth, probability),
    }
    for name, threshold in (("at_half", _HALF), ("at_gate", gate)):
        counts = confusion(truth, probability >= threshold)
        result |= {
            f"{name}.accuracy": counts.accuracy,
            f"{name}.precision": counts.precision,
            f"{name}.recall": counts.recall,
            f"{name}.specificity": counts.specificity,
            f"{name}.f1": counts.f1,
        }
    return result


def _segmenter(outcomes: Outcomes, hd95: NDArray[np.float64]) -> dict[str, float]:
    truth = outcomes.true > 0
    positive = outcomes.where(truth)
    volume = volumes(positive, 0.0)
    return {
        **_per_slice(positive, hd95[truth]),
        "volume_dice": _mean(dice(*volume)),
        "volume_iou": _mean(iou(*volume)),
        "no_mask": _mean(positive.predicted == 0),
    }


def _pipeline(
    outcomes: Outcomes, hd95: NDArray[np.float64], thresholds: Thresholds
) -> dict[str, float]:
    truth = outcomes.true > 0
    point = gate_point(outcomes, thresholds.gate, thresholds.decision)
    found, unsure = decided(outcomes, thresholds)
    passed = outcomes.probability >= thresholds.gate
    gated = outcomes._replace(
        intersection=outcomes.intersection * passed, predicted=outcomes.predicted * passed
    )
    positive = gated.where(truth)
    return {
        **_per_slice(positive, np.where(passed, hd95, np.inf)[truth]),
        "volume_dice": point.volume_dice,
        "volume_iou": _mean(iou(*volumes(outcomes, thresholds.gate))),
        "sensitivity_at_gate": point.sensitivity,
        "lesion_sensitivity_at_gate": point.lesion_sensitivity,
        "skipped": point.skipped,
        "indeterminate": point.indeterminate,
        "sensitivity": _mean(found[truth]),
        "specificity": _mean(~(found | unsure)[~truth]),
        "false_region": _mean(found[~truth]),
    }


def _per_slice(positive: Outcomes, hd95: NDArray[np.float64]) -> dict[str, float]:
    per_slice = dice(positive.intersection, positive.predicted, positive.true)
    shared = iou(positive.intersection, positive.predicted, positive.true)
    return {
        "slice_dice": _mean(per_slice),
        "slice_dice_median": _median(per_slice),
        "slice_iou": _mean(shared),
        # Of the slices with a mask; those without one are infinitely far away, and counted apart.
        "slice_hd95_mean_px": _mean(hd95[np.isfinite(hd95)]),
        # Of all positive slices, those without a mask as the farthest.
        "slice_hd95_median_px": _median(hd95),
    }


def decided(
    outcomes: Outcomes, thresholds: Thresholds
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which slices have a region, and which are indeterminate (`scanside.gate.decide`).

    Returns
    -------
    found, indeterminate : ndarray of bool
        ``[N]`` each; the others are negative.
    """
    passed = outcomes.probability >= thresholds.gate
    found = passed & (outcomes.predicted > 0)
    unsure = passed & ~found & (outcomes.probability >= thresholds.decision)
    return found, unsure


def _mean(values: NDArray[np.generic]) -> float:
    return float(np.mean(values.astype(np.float64))) if values.size else float("nan")


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if values.size else float("nan")
