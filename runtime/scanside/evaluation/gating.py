"""What the gate costs and saves, and how its thresholds are chosen.

The rules are those of `scanside.gate`, on arrays: a slice with ``probability >= gate`` is
segmented; one below it counts as an empty mask; one that is segmented to an empty mask with
``probability >= decision`` is indeterminate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import InputError, UsageError
from scanside.evaluation.metrics import dice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = [
    "MIN_LESION_PX",
    "GatePoint",
    "Outcomes",
    "choose_decision",
    "choose_gate",
    "cost_curve",
    "gate_point",
    "volumes",
]

MIN_LESION_PX: Final = 100
"""Smallest lesion, in pixels of a slice, that the gate is chosen on: a square centimetre where
pixels are 1 mm. Smaller ones are a tumour's first and last slices, 2 % of the positive ones of
the LGG dataset; they are reported, too."""


class Outcomes(NamedTuple):
    """What the two models make of a set of slices, the segmenter run on each of them.

    Attributes
    ----------
    patient
        int64, ``[N]``: any number per patient.
    probability
        float64, ``[N]``: the classifier's output.
    intersection, predicted, true
        int64, ``[N]``: pixels in both masks, in the segmenter's, in the true one.
    """

    patient: NDArray[np.int64]
    probability: NDArray[np.float64]
    intersection: NDArray[np.int64]
    predicted: NDArray[np.int64]
    true: NDArray[np.int64]

    def where(self, which: NDArray[np.bool_]) -> Outcomes:
        """Return the slices that `which`, ``[N]``, is true for."""
        return Outcomes(
            self.patient[which],
            self.probability[which],
            self.intersection[which],
            self.predicted[which],
            self.true[which],
        )


class GatePoint(NamedTuple):
    """What happens at one pair of thresholds. A share of nothing is ``nan``.

    Attributes
    ----------
    gate, decision
        The thresholds.
    sensitivity
        Share of the positive slices that pass the gate.
    lesion_sensitivity
        The same for slices with at least `MIN_LESION_PX` pixels of tumour (or as asked for).
    skipped
        Share of all slices that the segmenter does not see.
    indeterminate
        Share of all slices that are indeterminate.
    volume_dice
        Mean over patients of the volume's Dice after gating; 1 for a patient without tumour
        in whom nothing is outlined.
    """

    gate: float
    decision: float
    sensitivity: float
    lesion_sensitivity: float
    skipped: float
    indeterminate: float
    volume_dice: float


def gate_point(
    outcomes: Outcomes, gate: float, decision: float, min_px: int = MIN_LESION_PX
) -> GatePoint:
    """Say what happens at one pair of thresholds.

    Parameters
    ----------
    outcomes
        The slices.
    gate, decision
        Probabilities; ``decision >= gate``.
    min_px
        Smallest lesion of `GatePoint.lesion_sensitivity`, in pixels.

    Raises
    ------
    InputError
        If a probability is not a finite number, or there is no slice.
    UsageError
        If `decision` is below `gate`.
    """
    _check(outcomes.probability)
    if not decision >= gate:
        raise UsageError(f"decision {decision:g}, gate {gate:g}", accepted="decision >= gate")
    passed = outcomes.probability >= gate
    unsure = passed & (outcomes.predicted == 0) & (outcomes.probability >= decision)
    return GatePoint(
        gate=float(gate),
        decision=float(decision),
        sensitivity=_share(passed, outcomes.true > 0),
        lesion_sensitivity=_share(passed, outcomes.true >= max(1, min_px)),
        skipped=float(np.mean(~passed)),
        indeterminate=float(np.mean(unsure)),
        volume_dice=float(np.mean(dice(*volumes(outcomes, gate)))),
    )


def cost_curve(
    outcomes: Outcomes, gates: Iterable[float], decision: float, min_px: int = MIN_LESION_PX
) -> tuple[GatePoint, ...]:
    """Say what happens at each gate; `decision` is raised to the gate where it is below it."""
    return tuple(gate_point(outcomes, gate, max(gate, decision), min_px=min_px) for gate in gates)


def volumes(outcomes: Outcomes, gate: float) -> NDArray[np.float64]:
    """Return the pixels of each patient's volume after gating.

    Parameters
    ----------
    outcomes
        The slices.
    gate
        Slices below it count as empty masks; 0 for the segmenter alone on all slices.

    Returns
    -------
    ndarray of float64
        ``[3, patients]``: pixels in both masks, in the predicted one, in the true one; by
        patient, in the order of their numbers. It is what `dice` and `iou` take.
    """
    passed = outcomes.probability >= gate
    _, patient = np.unique(outcomes.patient, return_inverse=True)
    pixels = (outcomes.intersection * passed, outcomes.predicted * passed, outcomes.true)
    return np.stack([np.bincount(patient, weights=weights) for weights in pixels])


def choose_gate(
    probability: NDArray[np.float64],
    true: NDArray[np.int64],
    *,
    sensitivity: float,
    min_px: int = MIN_LESION_PX,
) -> float:
    """Choose the highest gate that lets a wanted share of the lesions pass.

    Parameters
    ----------
    probability
        float64, ``[N]``: the classifier's outputs.
    true
        int64, ``[N]``: pixels of tumour.
    sensitivity
        Wanted share, above 0, at most 1, of the slices with at least `min_px` pixels.
    min_px
        Smallest lesion that counts.

    Returns
    -------
    float
        The gate: the probability of the last lesion that has to pass. With ``sensitivity`` 1 or
        few lesions none is missed.

    Raises
    ------
    InputError
        If a probability is not finite, or there is no lesion of that size.
    UsageError
        If `sensitivity` is no such share.
    """
    _check(probability)
    if not 0 < sensitivity <= 1:
        raise UsageError(f"a sensitivity of {sensitivity:g}", accepted="0 < sensitivity <= 1")
    lesions = np.sort(probability[true >= max(1, min_px)])
    if not lesions.size:
        raise InputError(
            f"none of {probability.size} slices has a lesion of {min_px} pixels or more",
            accepted="slices with lesions: no gate attains a sensitivity that has no meaning",
            remedy="choose the gate on more patients",
        )
    # round: 0.9 * 10 must not become 9.000000000000002 and then 10.
    needed = math.ceil(round(sensitivity * lesions.size, 6))
    return float(lesions[lesions.size - needed])


def choose_decision(outcomes: Outcomes, gate: float, *, most: float) -> float:
    """Choose the lowest decision threshold that leaves few slices indeterminate.

    Low is careful: more slices on which the models contradict each other go to a human.

    Parameters
    ----------
    outcomes
        The slices.
    gate
        The gate that was chosen.
    most
        Largest wanted share of indeterminate slices among all slices.

    Returns
    -------
    float
        From `gate` to 1. Above `gate` it lies midway between the probability that must not be
        indeterminate any more and the next one (or 1), away from both.

    Raises
    ------
    InputError
        If a probability is not finite, or no threshold up to 1 gives so few.
    UsageError
        If `most` is no share.
    """
    _check(outcomes.probability)
    if not 0 <= most <= 1:
        raise UsageError(f"a share of {most:g}", accepted="0 to 1")
    unsure = (outcomes.probability >= gate) & (outcomes.predicted == 0)
    falling = np.sort(outcomes.probability[unsure])[::-1]
    allowed = math.floor(round(most * outcomes.probability.size, 6))
    if falling.size <= allowed:
        return float(gate)
    excluded = float(falling[allowed])
    if excluded >= 1:
        raise InputError(
            f"{int(np.sum(falling >= 1))} of {outcomes.probability.size} slices have an empty mask"
            f" and a probability of 1, and at most {most:g} may be indeterminate",
            accepted="a share that some threshold up to 1 attains",
            remedy="allow more indeterminate slices, or train the classifier to be less certain",
        )
    above = falling[falling > excluded]
    return (excluded + (float(above.min()) if above.size else 1.0)) / 2


def _check(probability: NDArray[np.float64]) -> None:
    if not probability.size:
        raise InputError("there is no slice", accepted="one or more")
    if bad := int(np.sum(~np.isfinite(probability))):
        raise InputError(
            f"{bad} of {probability.size} probabilities are NaN or infinite",
            accepted="finite numbers",
            remedy="find out why the classifier gave them: they have no side of a gate",
        )


def _share(what: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(np.mean(what[among])) if among.any() else float("nan")
