"""Which slices a run is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scanside.evaluation.slices import DatasetSlice

__all__ = ["whole_patients"]


def whole_patients(slices: Sequence[DatasetSlice], least: int) -> list[DatasetSlice]:
    """Return the slices of the first patients that have at least so many together.

    Parameters
    ----------
    slices
        In the dataset's order: by patient, then number.
    least
        How many; all slices where there are fewer.
    """
    chosen: list[DatasetSlice] = []
    for item in slices:
        if len(chosen) >= least and item.patient != chosen[-1].patient:
            break
        chosen.append(item)
    return chosen
