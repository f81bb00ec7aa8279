"""The slices that differ most, each with its picture: a fixed number, however many come."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from scanside.comparison.records import Worst
from scanside.records import OVERLAYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.comparison.records import SlicePair

__all__ = ["WorstSlices"]


class _Held(NamedTuple):
    """Ordered so that the heap's first is the one that differs least; the earlier one stays."""

    difference: float
    minus_number: int
    record: SlicePair
    picture: bytes


class WorstSlices:
    """The slices with the largest difference of one kind; equal ones are not among them.

    Parameters
    ----------
    kind
        What pictures are named after: ``mask_dice``, ``probability``.
    most
        How many are kept.
    """

    def __init__(self, kind: str, most: int) -> None:
        self._kind = kind
        self._most = most
        self._heap: list[_Held] = []
        self._number = 0

    def offer(self, difference: float, record: SlicePair, draw: Callable[[], bytes]) -> None:
        """Keep a slice if it is among those that differ most so far.

        Parameters
        ----------
        difference
            How far the sides lie apart; 0 where they do not.
        record
            The slice.
        draw
            Returns its picture; called only if the slice is kept.
        """
        self._number += 1
        if difference <= 0 or self._most == 0:
            return
        full = len(self._heap) == self._most
        if full and difference <= self._heap[0].difference:
            return
        held = _Held(difference, -self._number, record, draw())
        if full:
            heapq.heapreplace(self._heap, held)
        else:
            heapq.heappush(self._heap, held)

    def results(self, value: Callable[[SlicePair], float]) -> list[tuple[Worst, bytes]]:
        """Return what was kept, the largest difference first, with the pictures as PNG.

        Parameters
        ----------
        value
            The figure of a record that is shown.
        """
        ranked = sorted(self._heap, key=lambda held: held[:2], reverse=True)
        return [
            (self._worst(place, held.record, value(held.record)), held.picture)
            for place, held in enumerate(ranked, 1)
        ]

    def _worst(self, place: int, record: SlicePair, value: float) -> Worst:
        sides = (record.a, record.b)
        one, other = (None if side is None else side.tumor_probability for side in sides)
        return Worst(
            source=record.source,
            index=record.index,
            value=value,
            a_probability=one,
            b_probability=other,
            picture=f"{OVERLAYS}/{self._kind}_{place:02d}.png",
        )
