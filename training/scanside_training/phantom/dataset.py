"""Phantoms as files, in the layout of the LGG dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from scanside.errors import OutputError
from scanside_training.phantom.patient import (
    MAX_SEED,
    MAX_SLICES,
    MIN_SLICES,
    PhantomSlice,
    check_range,
    generate_patient,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_dataset"]


def write_dataset(folder: str | Path, *, seed: int, patients: int, slices: int) -> int:
    """Write patients in the layout of the LGG dataset (``kaggle_3m``), as lossless PNG.

    ``<folder>/PHANTOM_0001/PHANTOM_0001_7.png`` holds the sequences as red, green and blue;
    ``PHANTOM_0001_7_mask.png`` (0 and 255) is there where the mask is not empty.

    Parameters
    ----------
    folder
        Where to write; it must be empty or not exist.
    seed
        Seed of the first patient; the others follow.
    patients, slices
        Number of patients, and of slices a patient.

    Returns
    -------
    int
        The number of slices with a lesion.

    Raises
    ------
    UsageError
        If an argument is out of its range.
    OutputError
        If the folder is not empty or not writable.
    """
    check_range("patients", patients, 1, MAX_SEED + 1)
    check_range("seed", seed, 0, MAX_SEED + 1 - patients)
    check_range("slices", slices, MIN_SLICES, MAX_SLICES)
    root = Path(folder)
    positive = 0
    try:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise OutputError(
                f"the folder {root} is not empty",
                accepted="an empty folder, or one that does not exist yet",
                remedy="name another folder, or empty this one: phantoms never join other files",
            )
        for patient in range(seed, seed + patients):
            for piece in generate_patient(patient, slices=slices):
                positive += _write_slice(root / piece.patient, piece)
    except OSError as error:
        raise OutputError(
            f"could not write to {root}: {error.strerror or error}",
            remedy="name a folder that can be written to, with enough free space",
        ) from error
    return positive


def _write_slice(folder: Path, piece: PhantomSlice) -> int:
    """Write a slice and its mask; return 1 for one with a lesion, else 0."""
    folder.mkdir(exist_ok=True)
    stem = f"{piece.patient}_{piece.number}"
    _write_png(folder / f"{stem}.png", cv2.cvtColor(piece.image, cv2.COLOR_RGB2BGR))
    if not piece.mask.any():
        return 0
    _write_png(folder / f"{stem}_mask.png", np.where(piece.mask, np.uint8(255), np.uint8(0)))
    return 1


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    """Write to a neighbour, then rename: a file is there whole or not at all."""
    _, encoded = cv2.imencode(".png", pixels)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        part = Path(file.name)
        try:
            file.write(encoded.tobytes())
        except OSError:
            part.unlink(missing_ok=True)
            raise
    part.replace(path)
