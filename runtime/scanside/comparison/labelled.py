"""What the truth says of both sides, with intervals drawn with the same patients for both."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.comparison.records import Figure, Interval, Labels
from scanside.comparison.totals import defined
from scanside.evaluation.bootstrap import RESAMPLES, bootstrap
from scanside.evaluation.gating import Outcomes, gate_point
from scanside.evaluation.metrics import auc, overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside.comparison.pairs import Half
    from scanside.comparison.records import Side
    from scanside.evaluation.bootstrap import Estimate

__all__ = ["FIGURES", "Labelled"]

FIGURES: Final = {
    "auc": "classifier AUC, slices",
    "sensitivity": "sensitivity at the gate, all positive slices",
    "lesion_sensitivity": "sensitivity at the gate, 100 px and more",
    "volume_dice": "volume Dice after gating, mean over patients",
    "skipped": "slices that the gate skips",
    "indeterminate": "indeterminate slices",
}
"""Each figure in words."""

_SEED: Final = 20
"""Of the draws: the same data give the same interval."""

_SIDES: Final = ("a", "b")

_Row = tuple[float, int, int, int]
"""A slice on one side: probability; pixels in both, in the side's mask, in the true one."""


class _Patient(NamedTuple):
    """A patient's slices on one side and on the other: float64 ``[2, slices, 4]``."""

    rows: NDArray[np.float64]


class Labelled:
    """What is known of the labelled slices; four numbers a slice and side.

    Parameters
    ----------
    sides
        A and B: their thresholds are those of the figures.
    """

    def __init__(self, sides: tuple[Side, Side]) -> None:
        self._sides = sides
        self._rows: defaultdict[str, list[tuple[_Row, _Row]]] = defaultdict(list)
        self._left_out = self._positive = 0

    def add(self, patient: str, truth: NDArray[np.uint8], halves: tuple[Half, Half]) -> None:
        """Add a slice; it is left out on both sides where an output of either is not finite.

        Parameters
        ----------
        patient
            The patient.
        truth
            The true mask, uint8 ``[H, W]``.
        halves
            A and B.
        """
        one, other = (_row(half, truth) for half in halves)
        if one is None or other is None:
            self._left_out += 1
            return
        self._positive += bool(truth.any())
        self._rows[patient].append((one, other))

    def labels(self, resamples: int = RESAMPLES) -> Labels:
        """Return the figures of both sides and their differences.

        Parameters
        ----------
        resamples
            Of the bootstrap.
        """
        patients = [
            _Patient(np.array(rows, np.float64).transpose(1, 0, 2)) for rows in self._rows.values()
        ]
        figures: dict[str, Figure] = {}
        if patients:
            found = bootstrap(patients, self._statistics, seed=_SEED, resamples=resamples)
            figures = {
                name: Figure(
                    a=_interval(found[f"a.{name}"]),
                    b=_interval(found[f"b.{name}"]),
                    difference=_interval(found[f"difference.{name}"]),
                )
                for name in FIGURES
            }
        return Labels(
            patients=len(patients),
            slices=sum(len(rows) for rows in self._rows.values()),
            positive=self._positive,
            left_out=self._left_out,
            resamples=resamples,
            figures=figures,
        )

    def _statistics(self, drawn: Sequence[_Patient]) -> dict[str, float]:
        # A patient who is drawn twice counts as two: volumes are summed by place, not by name.
        place = np.repeat(np.arange(len(drawn)), [patient.rows.shape[1] for patient in drawn])
        rows = np.concatenate([patient.rows for patient in drawn], axis=1)
        by_side = [_figures(place, rows[number], side) for number, side in enumerate(self._sides)]
        found = {
            f"{name}.{figure}": value
            for name, figures in zip(_SIDES, by_side, strict=True)
            for figure, value in figures.items()
        }
        one, other = by_side
        return found | {f"difference.{name}": other[name] - one[name] for name in FIGURES}


def _row(half: Half, truth: NDArray[np.uint8]) -> _Row | None:
    probability = half.probability
    if probability is None or half.mask_failed:
        return None
    if half.region is None:  # neither gate lets it through: the gate empties the mask anyway
        return probability, 0, 0, int(np.count_nonzero(truth))
    return probability, *overlap(half.region.mask, truth)


def _figures(place: NDArray[np.int64], rows: NDArray[np.float64], side: Side) -> dict[str, float]:
    probability = rows[:, 0]
    pixels = rows[:, 1:].astype(np.int64).T
    point = gate_point(Outcomes(place, probability, *pixels), side.gate, side.decision)
    return {
        "auc": auc(pixels[2] > 0, probability),
        "sensitivity": point.sensitivity,
        "lesion_sensitivity": point.lesion_sensitivity,
        "volume_dice": point.volume_dice,
        "skipped": point.skipped,
        "indeterminate": point.indeterminate,
    }


def _interval(estimate: Estimate) -> Interval:
    return Interval(
        value=defined(estimate.value), low=defined(estimate.low), high=defined(estimate.high)
    )
