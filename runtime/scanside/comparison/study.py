"""A comparison from its first slice to its last record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scanside.comparison.labelled import Labelled
from scanside.comparison.limits import Limits, judge
from scanside.comparison.pairs import Pair, Runner, compare_pair
from scanside.comparison.pictures import picture_png
from scanside.comparison.records import ComparisonResult, Data, SlicePair
from scanside.comparison.totals import Totals
from scanside.comparison.worst import WorstSlices
from scanside.evaluation.gating import MIN_LESION_PX
from scanside.readers.image import source_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scanside.comparison.records import Worst
    from scanside.comparison.sides import OpenSide
    from scanside.comparison.slices import Input, ReadSlice
    from scanside.runner import Options

__all__ = ["Study"]


class Study:
    """The comparison of two sides on one set of slices, in one pass and flat memory.

    Parameters
    ----------
    sides
        A and B.
    source
        What they are compared on.
    options
        How the slices are read.
    worst
        How many of the slices that differ most are shown, of each kind.
    """

    def __init__(
        self, sides: tuple[OpenSide, OpenSide], source: Input, options: Options, *, worst: int
    ) -> None:
        self._described = (sides[0].described, sides[1].described)
        self._runner = Runner([side.pipeline for side in sides])
        self._source = source
        self._options = options
        spacing = options.spacing
        self._mm2_per_px = None if spacing is None else spacing.row * spacing.column
        one, other = self._described
        self._totals = Totals((one.gate, other.gate), self._mm2_per_px)
        self._labelled = Labelled(self._described) if source.labelled else None
        self._by_dice = WorstSlices("mask_dice", worst)
        self._by_probability = WorstSlices("probability", worst)
        self._started = time.perf_counter()

    def compare(self, slices: Iterable[ReadSlice]) -> Iterator[SlicePair]:
        """Run both sides on each slice and add what they make of it.

        Parameters
        ----------
        slices
            The slices, in their order.

        Yields
        ------
        SlicePair
            The record of each slice, rejected ones too.

        Raises
        ------
        BackendError
            If a device fails.
        """
        for read in slices:
            if read.prepared is None:
                self._totals.reject()
                reason = str(read.error).removeprefix(f"{read.source}: ")
                yield SlicePair(
                    source=read.source,
                    index=read.index,
                    patient=read.patient,
                    true_px=read.true_px,
                    rejected=reason,
                )
                continue
            halves = self._runner.run(read.prepared)
            pair = compare_pair(read, halves, mm2_per_px=self._mm2_per_px)
            self._add(read, pair)
            yield pair.record

    def result(self, limits: Limits) -> tuple[ComparisonResult, dict[str, bytes]]:
        """Return the last record, and the pictures by their paths.

        Parameters
        ----------
        limits
            The limits that were asked for.
        """
        summary = self._totals.summary()
        one, other = self._described
        by_dice = self._by_dice.results(lambda record: _number(record.mask_dice))
        by_probability = self._by_probability.results(
            lambda record: _number(record.probability_difference)
        )
        record = ComparisonResult(
            a=one,
            b=other,
            thresholds_differ=(one.gate, one.decision, one.mask)
            != (other.gate, other.decision, other.mask),
            data=self._data(),
            **summary._asdict(),
            worst_mask_dice=_without_pictures(by_dice),
            worst_probability=_without_pictures(by_probability),
            labels=None if self._labelled is None else self._labelled.labels(),
            limits=judge(summary, limits),
            seconds=round(time.perf_counter() - self._started, 3),
        )
        return record, {worst.picture: png for worst, png in (*by_dice, *by_probability)}

    def _add(self, read: ReadSlice, pair: Pair) -> None:
        self._totals.add(pair)
        if self._labelled is not None and read.label is not None and read.truth is not None:
            self._labelled.add(read.label.patient, read.truth, pair.halves)

        def draw() -> bytes:
            return picture_png(read.shown(self._options), pair.halves)

        record, pixels = pair.record, pair.pixels
        if record.mask_dice is not None and pixels is not None and max(pixels[1:]) >= MIN_LESION_PX:
            self._by_dice.offer(1.0 - record.mask_dice, record, draw)
        if record.probability_difference is not None:
            self._by_probability.offer(abs(record.probability_difference), record, draw)

    def _data(self) -> Data:
        compared, rejected = self._totals.compared, self._totals.rejected
        return Data(
            folder=source_name(self._source.folder),
            labelled=self._source.labelled,
            dataset_sha256=self._source.dataset_sha256,
            slices=compared + rejected,
            compared=compared,
            rejected=rejected,
            left_out=self._source.left_out,
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _without_pictures(found: list[tuple[Worst, bytes]]) -> list[Worst]:
    return [worst for worst, _ in found]
