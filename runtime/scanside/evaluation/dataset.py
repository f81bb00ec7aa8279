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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cv2
import numpy as np

from scanside.errors import InputError
from scanside.evaluation.layout import TIFF, Found, find_slices
from scanside.preprocess import CHANNELS, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Dataset", "DatasetSlice", "index_dataset", "load_image", "load_mask"]

_LISTED: Final = 20
"""How many problems a message names; the count of the others follows."""


class DatasetSlice(NamedTuple):
    """One labelled slice.

    Attributes
    ----------
    patient
        Name of the patient's folder.
    number
        The slice's number in its file name: its place along the axis of the scan.
    image, mask
        The files; a mask that is none is empty.
    tumor_px
        Number of the mask's pixels, on the image's own grid.
    """

    patient: str
    number: int
    image: Path
    mask: Path | None
    tumor_px: int

    @property
    def positive(self) -> bool:
        """Whether there is at least one pixel of tumour."""
        return self.tumor_px > 0


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
    """A slice after decoding: what it is, the hash of its pixels, or what is wrong with it."""

    item: DatasetSlice | None
    digest: str = ""
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


def load_image(item: DatasetSlice) -> NDArray[np.uint8]:
    """Decode a slice.

    Parameters
    ----------
    item
        A slice of an indexed dataset.

    Returns
    -------
    ndarray of uint8
        ``[H, W, 3]``: pre-contrast, FLAIR, post-contrast (the file's R, G and B).

    Raises
    ------
    InputError
        If the file cannot be read or is not 8-bit RGB.
    """
    pixels = _decode(item.image)
    if pixels.shape[2:] != (len(CHANNELS),) or pixels.dtype != np.uint8:
        raise InputError(
            f"{item.image} is {pixels.dtype} of shape {list(pixels.shape)}",
            accepted="8-bit images with three channels (pre-contrast, FLAIR, post-contrast)",
        )
    fit(pixels.shape[0], pixels.shape[1])
    # OpenCV decodes to BGR; the files' R is pre-contrast.
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def load_mask(item: DatasetSlice) -> NDArray[np.uint8]:
    """Decode a slice's mask.

    Parameters
    ----------
    item
        A slice of an indexed dataset.

    Returns
    -------
    ndarray of uint8
        ``[H, W]`` on the image's grid, 1 where there is tumour, else 0.

    Raises
    ------
    InputError
        If a file cannot be read, or the mask is not one 8-bit channel with 0 and 255 or 1.
    """
    if item.mask is None:
        height, width = _decode(item.image).shape[:2]
        return np.zeros((height, width), np.uint8)
    pixels = _decode(item.mask)
    accepted = "one 8-bit channel with 0 and one other value, 255 or 1"
    if pixels.shape[2:] or pixels.dtype != np.uint8:
        raise InputError(
            f"the mask {item.mask} is {pixels.dtype} of shape {list(pixels.shape)}",
            accepted=accepted,
        )
    values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist()
    if not (set(values) <= {0, 1} or set(values) <= {0, 255}):
        listed = ", ".join(str(value) for value in values[:5]) + (", ..." if values[5:] else "")
        raise InputError(f"the mask {item.mask} has the values {listed}", accepted=accepted)
    return (pixels > 0).astype(np.uint8)


def _decode(path: Path) -> NDArray[Any]:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror or error}") from error
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error as error:
        raise InputError(f"{path} could not be decoded: {error.err}") from error
    if pixels is None:
        raise InputError(
            f"{path} ({data.size} bytes) could not be decoded",
            remedy="copy the file again from the dataset",
        )
    # imdecode returns the first page of several without a word.
    if path.suffix.lower() in TIFF and (pages := cv2.imcount(str(path))) > 1:
        raise InputError(f"{path} has {pages} pages", accepted="one slice a file")
    return pixels


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
    digest.update(mask.data)
    return _Checked(
        item._replace(tumor_px=int(mask.sum(dtype=np.int64))),
        digest.hexdigest(),
        blank=bool(image.max() == image.min()),
    )


def _shared_between_patients(checked: list[_Checked]) -> list[str]:
    """Name the slices that two patients have in common: they would leak across a split."""
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for item, digest, blank, _ in checked:
        if item is not None and not blank:
            owners[digest].add(item.patient)
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
    for item, digest, _, _ in checked:
        if item is not None:
            total.update(f"{item.patient}/{item.number} {digest}\n".encode())
    return total.hexdigest()


def _refusal(folder: Path, problems: list[str]) -> InputError:
    lines = [f"- {problem}" for problem in problems[:_LISTED]]
    if problems[_LISTED:]:
        lines.append(f"- and {len(problems) - _LISTED} more")
    return InputError(
        f"the dataset {folder} is not accepted ({len(problems)} problems):\n"
        + "\n".join(lines)
        + "\n",
        accepted="a folder per patient with <patient>_<n>.tif and <patient>_<n>_mask.tif, or"
        " .webp or .png with masks where there is tumour",
        remedy="repair these files, or leave them out with --keep-going",
    )
