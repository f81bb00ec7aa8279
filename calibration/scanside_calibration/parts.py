"""Who is looked at for what: ranges, the choice of the method, and the accuracy guard.

Three sets of patients that share none: training patients whose slices give the ranges, other
training patients on which methods and layers are compared, and the validation patients, which
only the guard sees.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError
from scanside.evaluation.gating import MIN_LESION_PX
from scanside.evaluation.splits import check_split, make_split, read_split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scanside.evaluation.dataset import Dataset, DatasetSlice
    from scanside.evaluation.splits import Split

__all__ = ["FEWEST_TRAINING", "SELECTION", "Parts", "divide"]

FEWEST_TRAINING: Final = 3
"""Patients of the training part: two for the ranges, one to compare methods on."""

SELECTION: Final = 64
"""Slices on which methods and layers are compared: a hundred and more comparisons a model, each
in a second or two. The distances of methods differ by far more than these slices scatter."""

_EVERY: Final = 4
"""One training patient in so many is kept for the comparison."""

_VALIDATION: Final = 0.2
"""Share of the patients that the guard sees where no split was given."""


class Parts(NamedTuple):
    """The three sets.

    Attributes
    ----------
    ranges
        Patients whose slices give the ranges.
    selection
        Slices on which methods and layers are compared, of other training patients.
    validation
        Slices of the validation patients, all of them.
    split_sha256
        Hash of the split's file; none where the split was drawn here.
    said
        What the validation slices are, for the manifest.
    """

    ranges: tuple[str, ...]
    selection: tuple[DatasetSlice, ...]
    validation: tuple[DatasetSlice, ...]
    split_sha256: str | None
    said: str


def divide(dataset: Dataset, split_file: Path | None, seed: int) -> Parts:
    """Divide a dataset's patients.

    Parameters
    ----------
    dataset
        The indexed dataset.
    split_file
        The split that the models were trained with; none to have one drawn, stratified, by
        patient.
    seed
        Of what is drawn.

    Raises
    ------
    InputError
        If the split is not one of this dataset, a patient is in two parts, or the training
        part has too few patients.
    """
    if split_file is None:
        split = make_split(dataset, seed=seed, validation=_VALIDATION, test=0.0)
        said = (
            f"{dataset.root.name}, patients drawn here (seed {seed}) and not known to be apart"
            " from those that the models were trained on"
        )
        digest = None
    else:
        split = read_split(split_file)
        check_split(split, dataset)
        said = f"{dataset.root.name}, validation part of the split with seed {split.seed}"
        digest = hashlib.sha256(split_file.read_bytes()).hexdigest()
    kept = _kept_for_selection(split, seed)
    return Parts(
        ranges=tuple(patient for patient in split.train if patient not in kept),
        selection=_spread(dataset.of(kept)),
        validation=dataset.of(split.validation),
        split_sha256=digest,
        said=said,
    )


def _kept_for_selection(split: Split, seed: int) -> frozenset[str]:
    if len(split.train) < FEWEST_TRAINING:
        raise InputError(
            f"the training part has {len(split.train)} patients ({', '.join(split.train)})",
            accepted=f"{FEWEST_TRAINING} and more: slices of one patient say nothing about the"
            " next, and methods are compared on patients that gave no ranges",
            remedy="use a split with more training patients",
        )
    # Drawn with SHA-256, as splits are: the same on every machine and with every NumPy.
    drawn = sorted(split.train, key=lambda name: _draw(f"{seed}/selection", name))
    return frozenset(drawn[: max(1, len(drawn) // _EVERY)])


def _spread(slices: Sequence[DatasetSlice]) -> tuple[DatasetSlice, ...]:
    """Choose slices evenly over the patients, half of them with a lesion where there are."""
    lesions = [item for item in slices if item.tumor_px >= MIN_LESION_PX]
    others = [item for item in slices if item.tumor_px < MIN_LESION_PX]
    half = SELECTION // 2
    few = min(len(lesions), max(half, SELECTION - len(others)))
    chosen = {*_evenly(lesions, few), *_evenly(others, SELECTION - few)}
    return tuple(item for item in slices if item in chosen)


def _evenly(items: Sequence[DatasetSlice], count: int) -> list[DatasetSlice]:
    if count >= len(items):
        return list(items)
    return [items[(2 * at + 1) * len(items) // (2 * count)] for at in range(count)]


def _draw(key: str, name: str) -> str:
    return hashlib.sha256(f"{key}/{name}".encode()).hexdigest()
