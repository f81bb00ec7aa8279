"""Which files of a folder are slices and masks of which patient, by their names alone."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError
from scanside.plain import is_text, plain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Found", "find_slices"]

_TIFF: Final = (".tif", ".tiff")
_FORMATS: Final = (*_TIFF, ".webp", ".png")
_NAME: Final = re.compile(r"(?P<patient>.+)_(?P<number>[0-9]+)(?P<mask>_mask)?")


class Found(NamedTuple):
    """A slice by its files' names, not yet opened."""

    patient: str
    number: int
    image: Path
    mask: Path | None


def find_slices(root: Path) -> tuple[Path, list[Found], list[str]]:
    """Find the slices of a dataset.

    Parameters
    ----------
    root
        The folder with the patients' folders, or the one that holds ``kaggle_3m``.

    Returns
    -------
    folder : Path
        The folder with the patients' folders.
    found : list of Found
        Ordered by patient, then number.
    problems : list of str
        What was left out, and why; paths are relative to `folder`.

    Raises
    ------
    InputError
        If `root` is no folder that can be listed, or holds no patient's folder.
    """
    folder = root / "kaggle_3m" if (root / "kaggle_3m").is_dir() else root
    try:
        patients = sorted(
            entry
            for entry in folder.iterdir()
            if entry.is_dir() and not entry.name.startswith((".", "__"))
        )
    except OSError as error:
        raise InputError(
            f"the dataset {folder} could not be listed: {error.strerror or error}",
            accepted="a folder with one folder per patient",
        ) from error
    if not patients:
        raise InputError(
            f"the dataset {folder} holds no folder",
            accepted="a folder per patient with <patient>_<n>.tif and <patient>_<n>_mask.tif",
            remedy="give the folder that holds the patients' folders",
        )
    found: list[Found] = []
    problems: list[str] = []
    for patient in patients:
        if not is_text(patient.name):  # it has a place in splits, hashes and results
            problems.append(f"{plain(patient.name)} is not UTF-8, as a patient's name must be")
            continue
        slices, wrong = _find_patient(patient)
        found += slices
        problems += wrong
    return folder, found, problems


def _find_patient(folder: Path) -> tuple[list[Found], list[str]]:
    images: defaultdict[int, list[Path]] = defaultdict(list)
    masks: defaultdict[int, list[Path]] = defaultdict(list)
    problems = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _FORMATS or path.name.startswith("."):
            continue
        name = _NAME.fullmatch(path.stem)
        if name is None or name["patient"] != folder.name:
            problems.append(
                f"{folder.name}/{path.name} is not named {folder.name}_<n>{path.suffix}"
                f" or {folder.name}_<n>_mask{path.suffix}"
            )
            continue
        (masks if name["mask"] else images)[int(name["number"])].append(path)
    found = []
    for number, paths in sorted(images.items()):
        item = _pair(folder.name, number, paths, masks[number])
        if isinstance(item, str):
            problems.append(item)
        else:
            found.append(item)
    problems += [
        f"{folder.name}/{path.name} is a mask without an image"
        for number, paths in sorted(masks.items())
        if number not in images
        for path in paths
    ]
    if not images:
        problems.append(f"{folder.name} holds no slice")
    return found, problems


def _pair(patient: str, number: int, images: list[Path], masks: list[Path]) -> Found | str:
    """Pair a slice with its mask, or say why it cannot be done."""
    for paths in (images, masks):
        if len(paths) > 1:
            return f"{patient} has slice {number} twice: {', '.join(path.name for path in paths)}"
    # The dataset as published has a mask for every .tif: one that is missing was lost, and
    # taking it for empty would turn a positive slice into a negative one.
    if not masks and images[0].suffix.lower() in _TIFF:
        return f"{patient}/{images[0].name} has no mask {patient}_{number}_mask.tif"
    return Found(patient, number, images[0], masks[0] if masks else None)
