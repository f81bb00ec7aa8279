"""One slice on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from scanside.comparison.records import Outcome, SlicePair
from scanside.evaluation.metrics import dice, overlap
from scanside.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scanside.comparison.slices import ReadSlice
    from scanside.evaluation.metrics import Overlap
    from scanside.pipeline import Prepared, Result
    from scanside.postprocess import Region

__all__ = ["Half", "Pair", "Runner", "compare_pair"]


class Half(NamedTuple):
    """What one side makes of a slice.

    Attributes
    ----------
    result
        What its pipeline found, its own gate applied.
    region
        What its segmenter outlines, also where its own gate skips the slice and the other
        side's does not; none where neither lets it through, or the output is not finite.
    mask_failed
        Whether the segmenter ran and its output is not finite.
    """

    result: Result
    region: Region | None
    mask_failed: bool

    @property
    def probability(self) -> float | None:
        """`tumor_probability`; none where it is not a finite number from 0 to 1."""
        value = self.result.tumor_probability
        return value if value is not None and 0 <= value <= 1 else None

    @property
    def area(self) -> int | None:
        """Pixels of the region."""
        return None if self.region is None else self.region.area


class Pair(NamedTuple):
    """A slice on both sides: its record, and what the record does not hold.

    Attributes
    ----------
    record
        The record.
    halves
        A and B.
    pixels
        Pixels in both masks, in A's, in B's; none where one of them is missing.
    """

    record: SlicePair
    halves: tuple[Half, Half]
    pixels: Overlap | None


class Runner:
    """Both sides' models, run on the very same prepared slice.

    Parameters
    ----------
    pipelines
        A's and B's.
    """

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._sides = [(pipeline, _without_gate(pipeline)) for pipeline in pipelines]

    def run(self, prepared: Prepared) -> tuple[Half, Half]:
        """Run both sides on a slice, as `scanside run` does: one slice a call.

        Parameters
        ----------
        prepared
            The slice.

        Raises
        ------
        BackendError
            If a device fails or gives an output of a wrong shape.
        """
        results = [pipeline.analyse_prepared([prepared])[0] for pipeline, _ in self._sides]
        either = any(result.segmented for result in results)
        halves = []
        for (_, ungated), result in zip(self._sides, results, strict=True):
            # A gate flip must not hide how far apart the outlines are.
            again = either and not result.segmented
            shown = ungated.analyse_prepared([prepared])[0] if again else result
            halves.append(Half(result, shown.region, shown.segmented and shown.region is None))
        return halves[0], halves[1]


def _without_gate(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline on the same models that segments every slice."""
    return Pipeline(pipeline.backend, msgspec.structs.replace(pipeline.thresholds, gate=0.0))


def compare_pair(
    read: ReadSlice, halves: tuple[Half, Half], *, mm2_per_px: float | None = None
) -> Pair:
    """Compare what the two sides make of a slice.

    Parameters
    ----------
    read
        The slice; it is not a rejected one.
    halves
        A and B.
    mm2_per_px
        Area of a pixel; none where the spacing is not known.
    """
    one, other = halves
    pixels = None
    if one.region is not None and other.region is not None:
        pixels = overlap(one.region.mask, other.region.mask)
    probabilities = (one.probability, other.probability)
    difference = None
    if probabilities[0] is not None and probabilities[1] is not None:
        difference = probabilities[1] - probabilities[0]
    tumors = {one.result.tumor, other.result.tumor}
    record = SlicePair(
        source=read.source,
        index=read.index,
        patient=read.patient,
        true_px=read.true_px,
        a=_outcome(one, mm2_per_px),
        b=_outcome(other, mm2_per_px),
        probability_difference=difference,
        mask_dice=None if pixels is None else float(dice(*pixels)),
        gate_flip=difference is not None and one.result.segmented != other.result.segmented,
        decision_flip=tumors == {True, False},
        status_change=one.result.status != other.result.status,
    )
    return Pair(record, halves, pixels)


def _outcome(half: Half, mm2_per_px: float | None) -> Outcome:
    result, area = half.result, half.area
    return Outcome(
        status=result.status,
        reason=result.reason,
        tumor_probability=result.tumor_probability,
        tumor=result.tumor,
        segmented=result.segmented,
        area_px=area,
        area_mm2=None if area is None or mm2_per_px is None else area * mm2_per_px,
    )
