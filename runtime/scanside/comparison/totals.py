"""Sums over the pairs of a comparison; a few numbers a slice are kept, never a mask."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from scanside.comparison.records import (
    Area,
    Change,
    Dice,
    Difference,
    NonFinite,
    Outcome,
    SlicePair,
)
from scanside.evaluation.agreement import MaskAgreement, ProbabilityAgreement
from scanside.evaluation.gating import MIN_LESION_PX

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.comparison.pairs import Half, Pair

__all__ = ["Summary", "Totals", "defined"]

_ROUTE = {True: "segmented", False: "skipped"}
_FINDING = {True: "region", False: "no region", None: "not known"}


class Summary(NamedTuple):
    """The sums; each is a field of `ComparisonResult`."""

    tumor_probability: Difference
    mask_dice: Dice
    area: Area
    gate_flips: list[Change]
    decision_flips: list[Change]
    status_changes: list[Change]
    changed: int
    a_non_finite: NonFinite
    b_non_finite: NonFinite


class Totals:
    """The sums over pairs.

    Parameters
    ----------
    gates
        Gates of A and B.
    mm2_per_px
        Area of a pixel; none where the spacing is not known.
    """

    def __init__(self, gates: tuple[float, float], mm2_per_px: float | None = None) -> None:
        self._probability = ProbabilityAgreement(*gates)
        self._masks = MaskAgreement()
        self._mm2_per_px = mm2_per_px
        self._areas = array("q")
        self._gate: list[Change] = []
        self._decision: list[Change] = []
        self._status: list[Change] = []
        self._changed = 0
        self._failed = {"classifier": [0, 0], "segmenter": [0, 0]}
        self.compared = self.rejected = 0

    def reject(self) -> None:
        """Count a slice that is not accepted."""
        self.rejected += 1

    def add(self, pair: Pair) -> None:
        """Add a pair."""
        self.compared += 1
        record, halves = pair.record, pair.halves
        one, other = (half.probability for half in halves)
        if one is not None and other is not None:
            self._probability.add(one, other)
        if pair.pixels is not None:
            self._masks.add_overlap(pair.pixels)
            # The field names are those of a prediction and its truth; here they are A and B.
            self._areas.append(pair.pixels.true - pair.pixels.predicted)
        for side, half in enumerate(halves):
            self._failed["classifier"][side] += half.probability is None
            self._failed["segmenter"][side] += half.mask_failed
        self._note_changes(record, halves)

    def summary(self) -> Summary:
        """Return the sums so far."""
        probability, masks = self._probability.spread(), self._masks.spread()
        failed = zip(self._failed["classifier"], self._failed["segmenter"], strict=True)
        a_failed, b_failed = (
            NonFinite(tumor_probability=classifier, mask_probability=segmenter)
            for classifier, segmenter in failed
        )
        return Summary(
            tumor_probability=Difference(
                slices=probability.slices,
                mean=defined(probability.mean),
                p99=defined(probability.p99),
                largest=defined(probability.largest),
            ),
            mask_dice=Dice(
                min_px=MIN_LESION_PX,
                slices=masks.slices,
                mean=defined(masks.mean),
                p5=defined(masks.p5),
                worst=defined(masks.worst),
            ),
            area=self._area(),
            gate_flips=self._gate,
            decision_flips=self._decision,
            status_changes=self._status,
            changed=self._changed,
            a_non_finite=a_failed,
            b_non_finite=b_failed,
        )

    def _area(self) -> Area:
        differences = np.array(self._areas, np.int64)
        if not differences.size:
            return Area(slices=0, mean_px=None, mean_absolute_px=None, largest_px=None)
        absolute = np.abs(differences)
        pixels = Area(
            slices=differences.size,
            mean_px=float(differences.mean()),
            mean_absolute_px=float(absolute.mean()),
            largest_px=int(absolute.max()),
        )
        if self._mm2_per_px is None:
            return pixels
        return msgspec.structs.replace(
            pixels,
            mean_mm2=float(differences.mean()) * self._mm2_per_px,
            mean_absolute_mm2=float(absolute.mean()) * self._mm2_per_px,
            largest_mm2=int(absolute.max()) * self._mm2_per_px,
        )

    def _note_changes(self, record: SlicePair, halves: tuple[Half, Half]) -> None:
        outcomes = record.a, record.b
        if outcomes[0] is None or outcomes[1] is None:
            return
        both = outcomes[0], outcomes[1]
        if record.gate_flip:
            self._gate.append(_change(record, halves, both, lambda each: _ROUTE[each.segmented]))
        if record.decision_flip:
            self._decision.append(_change(record, halves, both, lambda each: _FINDING[each.tumor]))
        if record.status_change:
            self._status.append(_change(record, halves, both, lambda each: each.status))
        self._changed += record.gate_flip or record.decision_flip or record.status_change


def defined(value: float) -> float | None:
    """Return a figure, or none where it is not defined (``nan``)."""
    return None if np.isnan(value) else float(value)


def _change(
    record: SlicePair,
    halves: tuple[Half, Half],
    outcomes: tuple[Outcome, Outcome],
    say: Callable[[Outcome], str],
) -> Change:
    return Change(
        source=record.source,
        index=record.index,
        a_probability=halves[0].probability,
        b_probability=halves[1].probability,
        a=say(outcomes[0]),
        b=say(outcomes[1]),
    )
