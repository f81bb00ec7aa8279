"""The accuracy guard: what a precision costs on validation patients, against stated limits.

Both models run on every slice, in both precisions, as the runtime's own CPU backend loads them;
INT8 in the arithmetic that its files state too, which is a GPU's. The gate is applied afterwards,
on the counts, so that a loss can be laid to one model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError, UsageError
from scanside.evaluation.agreement import DiceSpread, MaskAgreement
from scanside.evaluation.gating import MIN_LESION_PX, gate_point
from scanside.evaluation.metrics import auc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scanside.contract import Role, Thresholds
    from scanside.evaluation.gating import Outcomes
    from scanside_calibration.observe import Observed

__all__ = ["LIMITS", "Figure", "Verdict", "agreement", "judge", "limits_with"]

LIMITS: Final[Mapping[str, float]] = {
    "dice_drop": 0.005,
    "auc_drop": 0.003,
    "sensitivity_drop": 0.005,
    "agreement_mean": 0.97,
    "agreement_p5": 0.90,
}
"""Largest drops and smallest agreements. The intervals of these figures over 15 patients are
ten times as wide: what is allowed here can't be told from another draw of patients. The
agreement of masks is far more sensitive: both precisions see the same slices, and no truth."""

_ROUNDING: Final = 1e-9
"""A drop of exactly the limit passes, whatever the last digits of a subtraction."""

_CLASSIFIER: Final[tuple[Role, ...]] = ("classifier",)
_SEGMENTER: Final[tuple[Role, ...]] = ("segmenter",)


class Figure(NamedTuple):
    """One figure of the guard.

    Attributes
    ----------
    name
        As in `LIMITS`.
    fp32, other
        The figure in both precisions; for an agreement 1 and the agreement.
    measured, limit
        What is compared: a drop and the largest allowed, or an agreement and the smallest.
    passed
        Whether it holds.
    computed
        What computed the other precision: ``cpu``, or `stated.STATED`.
    """

    name: str
    fp32: float
    other: float
    measured: float
    limit: float
    passed: bool
    computed: str = "cpu"


class Verdict(NamedTuple):
    """What the guard found.

    Attributes
    ----------
    figures
        In the order of `LIMITS`, for one way of computing after the other.
    blamed
        The models that a failure comes from; none where everything holds.
    compared
        Slices that the agreement counts.
    """

    figures: tuple[Figure, ...]
    blamed: tuple[Role, ...]
    compared: int

    @property
    def passed(self) -> bool:
        """Whether every figure holds."""
        return all(figure.passed for figure in self.figures)

    def measured(self, computed: str = "cpu") -> dict[str, float]:
        """Return what was measured by name, of one way of computing."""
        return {each.name: each.measured for each in self.figures if each.computed == computed}

    def joined(self, other: Verdict, computed: str) -> Verdict:
        """Return a verdict that holds only if this one and another do.

        Parameters
        ----------
        other
            Of the same slices, computed in another way.
        computed
            How.
        """
        renamed = tuple(figure._replace(computed=computed) for figure in other.figures)
        blamed = tuple(sorted({*self.blamed, *other.blamed}))
        return Verdict((*self.figures, *renamed), blamed, self.compared)


def limits_with(changes: Mapping[str, float]) -> dict[str, float]:
    """Return the default limits with some of them changed.

    Parameters
    ----------
    changes
        New limits by name.

    Raises
    ------
    UsageError
        If a name is not one of `LIMITS`, or a limit is no share.
    """
    for name, value in changes.items():
        if name not in LIMITS or not 0 <= value <= 1:
            raise UsageError(
                f"the limit {name}={value:g}", accepted=f"0 to 1 for one of {', '.join(LIMITS)}"
            )
    return {**LIMITS, **changes}


def judge(
    fp32: Observed, other: Observed, thresholds: Thresholds, limits: Mapping[str, float]
) -> Verdict:
    """Compare a precision with FP32 on the same labelled slices.

    Parameters
    ----------
    fp32, other
        What the models make of the slices in FP32 and in the other precision.
    thresholds
        The bundle's.
    limits
        By the names of `LIMITS`.

    Returns
    -------
    Verdict
        ``dice_drop``: mean over patients of the volume's Dice after gating. ``auc_drop``: of
        the classifier over slices. ``sensitivity_drop``: share of the positive slices that
        pass the gate. ``agreement_*``: Dice of the segmenter's masks against those of FP32,
        over slices on which FP32's has at least `MIN_LESION_PX` pixels, true or false.

    Raises
    ------
    InputError
        If the slices hold one class only, or no FP32 mask is large enough.
    """
    before, after = fp32.outcomes, other.outcomes
    truth = before.true > 0
    if truth.all() or not truth.any():
        raise InputError(
            f"{int(truth.sum())} of {truth.size} slices for the accuracy guard are positive",
            accepted="slices with tumour and without",
            remedy="use a split whose validation part has both",
        )
    spread = agreement(fp32, other)
    points = [gate_point(each, thresholds.gate, thresholds.decision) for each in (before, after)]
    values = {
        "dice_drop": (points[0].volume_dice, points[1].volume_dice),
        "auc_drop": (auc(truth, before.probability), auc(truth, after.probability)),
        "sensitivity_drop": (points[0].sensitivity, points[1].sensitivity),
        "agreement_mean": (1.0, spread.mean),
        "agreement_p5": (1.0, spread.p5),
    }
    figures = tuple(_figure(name, *values[name], limits[name]) for name in LIMITS)
    blamed = _blamed(figures, before, after, thresholds)
    return Verdict(figures, blamed, spread.slices)


def agreement(fp32: Observed, other: Observed) -> DiceSpread:
    """Return how far the masks of both precisions agree.

    Raises
    ------
    InputError
        If no FP32 mask has `MIN_LESION_PX` pixels.
    """
    tally = MaskAgreement(MIN_LESION_PX)
    for one, two in zip(fp32.masks, other.masks, strict=True):
        tally.add_overlap(two.overlap(one), true_px=one.pixels)
    spread = tally.spread()
    if not spread.slices:
        raise InputError(
            f"on none of {len(fp32.masks)} slices does the FP32 segmenter outline"
            f" {MIN_LESION_PX} px or more: its masks can't be compared",
            accepted="slices of the kind that the models were trained on",
            remedy="use other slices, or a segmenter that has learned something",
        )
    return spread


def _figure(name: str, fp32: float, other: float, limit: float) -> Figure:
    # Written so that NaN fails.
    if name.endswith("_drop"):
        return Figure(name, fp32, other, fp32 - other, limit, fp32 - other <= limit + _ROUNDING)
    return Figure(name, fp32, other, other, limit, other >= limit - _ROUNDING)


def _blamed(
    figures: tuple[Figure, ...], before: Outcomes, after: Outcomes, thresholds: Thresholds
) -> tuple[Role, ...]:
    """Say which models failures come from, the classifier first."""
    roles: set[Role] = set()
    for figure in figures:
        if figure.passed:
            continue
        if figure.name == "dice_drop":
            roles.update(_dice_blame(before, after, thresholds))
        else:
            roles.update(_SEGMENTER if figure.name.startswith("agreement") else _CLASSIFIER)
    return tuple(sorted(roles))


def _dice_blame(before: Outcomes, after: Outcomes, thresholds: Thresholds) -> tuple[Role, ...]:
    """Exchange one model at a time: the one whose exchange alone costs more is to blame."""
    gate, decision = thresholds.gate, thresholds.decision
    gated = gate_point(before._replace(probability=after.probability), gate, decision)
    outlined = gate_point(after._replace(probability=before.probability), gate, decision)
    return _CLASSIFIER if gated.volume_dice < outlined.volume_dice else _SEGMENTER
