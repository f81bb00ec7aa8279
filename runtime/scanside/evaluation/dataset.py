"""The index of a labelled dataset: which slices there are, whose, and where the tumour is.

The layout is that of the LGG MRI Segmentation dataset (``kaggle_3m``): a folder per patient
with ``<patient>_<n>.tif`` and ``<patient>_<n>_mask.tif``. The same with ``.webp`` or ``.png``
images is accepted too; there a missing mask means an empty one. Everything is decoded and
checked once, here, so that nobody trains or measures on a file that is not what it seems.

References
----------
Buda, Saha, Mazurowski (2019): Association of genomic subtypes of lower-grade gliomas with
shape features automatically extracted by a deep learning algorithm. Computers in Biology and
Medicine 109.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import InputError
from scanside.evaluation.layout import Found, find_slices
from scanside.evaluation.slices import DatasetSlice, load_image, load_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Dataset", "DatasetSlice", "index_dataset", "load_image", "load_mask"]

_LISTED: Final = 20
"""How many problems a message names; the count of the others follows."""


class Dataset(NamedTuple):
    """The slices of a dataset that passed every check.

    Attributes
    ----------
    root
        The folder that holds the patients' folders.
    slices
        Ordered by patient, then number.
    sha256
        Hash over every slice's patient, number, pixels and mask. It is the same on every
        machine and in every lossless format, and changes with any pixel.
    problems
        What was left out, and why (``keep_going``).
    """

    root: Path
    slices: tuple[DatasetSlice, ...]
    sha256: str
    problems: tuple[str, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients, sorted."""
        return tuple(sorted({item.patient for item in self.slices}))

    def of(self, patients: Iterable[str]) -> tuple[DatasetSlice, ...]:
        """Return the slices of these patients, in the dataset's order."""
        wanted = frozenset(patients)
        return tuple(item for item in self.slices if item.patient in wanted)


class _Checked(NamedTuple):
    """A slice after decoding: what it is, its hashes, or what is wrong with it."""

    item: DatasetSlice | None
    pixels: str = ""
    with_mask: str = ""
    blank: bool = False
    problem: str = ""


def index_dataset(
    root: Path,
    *,
    keep_going: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Find, decode and check every slice of a dataset.

    Parameters
    ----------
    root
        The folder with the patients' folders, or the one that holds ``kaggle_3m``.
    keep_going
        Leave out what is not accepted and list it in `Dataset.problems`, instead of refusing
        the dataset.
    progress
        Called after each slice with the number checked and the number there are.

    Returns
    -------
    Dataset
        The slices that passed.

    Raises
    ------
    InputError
        If `root` is no folder or holds no slice, and, without `keep_going`, if there is
        anything wrong: a file that cannot be read, an image that is not 8-bit RGB, a mask of
        another size or with more than two values, a mask without an image, a ``.tif`` without
        a mask, a slice that is there twice or under another patient too, a folder without
        slices, a file named after another patient, or a set without positive or without
        negative slices. The message names the first problems and counts the rest.
    """
    folder, found, problems = find_slices(root)
    checked = _check_all(folder, found, progress)
    problems += [item.problem for item in checked if item.problem]
    problems += _shared_between_patients(checked)
    slices = tuple(item.item for item in checked if item.item is not None)
    if not slices:
        problems.append("no slice is left")
    else:
        problems += _one_sided(slices)
    if problems and not (keep_going and slices):
        raise _refusal(folder, problems)
    return Dataset(folder, slices, _dataset_hash(checked), tuple(problems))


def _check_all(
    folder: Path, found: list[Found], progress: Callable[[int, int], None] | None
) -> list[_Checked]:
    # Threads suffice: decoding and hashing release the GIL.
    checked = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for count, item in enumerate(pool.map(lambda each: _check(folder, each), found), 1):
            checked.append(item)
            if progress is not None:
                progress(count, len(found))
    return checked


def _check(folder: Path, found: Found) -> _Checked:
    item = DatasetSlice(found.patient, found.number, found.image, found.mask, 0)
    try:
        image = load_image(item)
        mask = load_mask(item) if item.mask is not None else np.zeros(image.shape[:2], np.uint8)
    except InputError as error:
        return _Checked(None, problem=str(error).replace(f"{folder}{os.sep}", ""))
    if mask.shape != image.shape[:2]:
        sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (mask, image)]
        name = found.image.relative_to(folder)
        return _Checked(None, problem=f"the mask of {name} is {sizes[0]}, the image {sizes[1]}")
    digest = hashlib.sha256(f"{image.shape[1]}x{image.shape[0]}\n".encode())
    digest.update(image.data)
    pixels = digest.hexdigest()
    digest.update(mask.data)
    return _Checked(
        item._replace(tumor_px=int(mask.sum(dtype=np.int64))),
        pixels,
        digest.hexdigest(),
        blank=bool(image.max() == image.min()),
    )


def _shared_between_patients(checked: list[_Checked]) -> list[str]:
    """Name the slices that two patients have in common: they would leak across a split.

    The masks may differ: two people may have outlined the same slice.
    """
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for item, pixels, _, blank, _ in checked:
        if item is not None and not blank:
            owners[pixels].add(item.patient)
    pairs: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for patients in owners.values():
        if len(patients) > 1:
            pairs[tuple(sorted(patients))] += 1
    return [
        f"{' and '.join(patients)} have {count} identical slices: the same patient twice?"
        for patients, count in sorted(pairs.items())
    ]


def _one_sided(slices: tuple[DatasetSlice, ...]) -> list[str]:
    positive = sum(item.positive for item in slices)
    if positive == 0:
        return [f"none of {len(slices)} slices is positive: are the masks there?"]
    if positive == len(slices):
        return [f"all {len(slices)} slices are positive: the tumour-free ones are missing"]
    return []


def _dataset_hash(checked: list[_Checked]) -> str:
    total = hashlib.sha256()
    for item, _, with_mask, _, _ in checked:
        if item is not None:
            total.update(f"{item.patient}/{item.number} {with_mask}\n".encode())
    return total.hexdigest()


def _refusal(folder: Path, problems: list[str]) -> InputError:
    places = problems[:_LISTED]
    if problems[_LISTED:]:
        places.append(f"and {len(problems) - _LISTED} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InputError(
        f"the dataset {folder} is not accepted ({count})",
        accepted="a folder per patient with <patient>_<n>.tif and <patient>_<n>_mask.tif, or"
        " .webp or .png with masks where there is tumour",
        remedy="repair or remove them; scanside data index --keep-going lists them all",
        places=places,
    )
