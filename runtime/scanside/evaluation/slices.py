"""One labelled slice: its files, decoded and checked."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scanside.errors import InputError
from scanside.preprocess import CHANNELS, fit
from scanside.readers.image import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["DatasetSlice", "load_image", "load_mask"]


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
        If the file cannot be read, is damaged, turned or otherwise not accepted by
        `scanside.readers.image`, or is not 8-bit RGB.
    """
    pixels = _decode(item.image)
    if pixels.shape[2:] != (len(CHANNELS),) or pixels.dtype != np.uint8:
        raise InputError(
            f"{item.image} is {pixels.dtype} of shape {list(pixels.shape)}",
            accepted="8-bit images with three channels (pre-contrast, FLAIR, post-contrast)",
        )
    fit(pixels.shape[0], pixels.shape[1])
    return pixels.astype(np.uint8, copy=False)


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
        If a file is not accepted by `scanside.readers.image`, or the mask is not one 8-bit
        channel with 0 and 255 or 1.
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
    """Read the one picture of a file, as `scanside run` reads it and with the same refusals."""
    first, *others = islice(read_file(path), 2)
    if others:
        raise InputError(f"{path} has several pages", accepted="one slice a file")
    return first.pixels
