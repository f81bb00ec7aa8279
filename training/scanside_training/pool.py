"""The slices that training draws from, decoded once and kept in memory while they fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import cv2
import numpy as np

from scanside.evaluation.dataset import load_image, load_mask
from scanside.preprocess import SIDE, preprocess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside.evaluation.dataset import DatasetSlice

__all__ = ["SlicePool", "fit_mask", "shrink"]

_BYTES_PER_PIXEL = 4
"""Three channels and the mask, uint8."""


class SlicePool:
    """Slices and masks at one size, by number.

    What `ram_mb` has room for is decoded at once and kept; the rest is decoded at each use.
    Synthetic slices have no file and are always kept.

    Parameters
    ----------
    slices
        Slices of an indexed dataset.
    side
        Height and width in pixels that they are shrunk to.
    ram_mb
        Memory budget in MB.
    workers
        Threads that decode.
    synthetic
        ``(images, masks)`` that follow the slices: uint8 ``[M, 256, 256, 3]`` and uint8
        ``[M, 256, 256]`` of 0 and 1.

    Attributes
    ----------
    positive : ndarray of bool
        ``[N]``: which slices have at least one pixel of tumour at full size.
    """

    def __init__(
        self,
        slices: Sequence[DatasetSlice],
        *,
        side: int = SIDE,
        ram_mb: int = 2048,
        workers: int = 2,
        synthetic: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
    ) -> None:
        self._slices = tuple(slices)
        self.side = side
        kept = min(len(self._slices), ram_mb * 1_000_000 // (side * side * _BYTES_PER_PIXEL))
        with ThreadPoolExecutor(workers) as pool:
            self._kept = list(pool.map(self._decode, range(kept)))
        self._synthetic: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        self.positive: NDArray[np.bool_] = np.array([item.positive for item in slices], bool)
        if synthetic is not None:
            images, masks = synthetic
            self._synthetic = [shrink(*pair, side) for pair in zip(images, masks, strict=True)]
            self.positive = np.append(self.positive, masks.any(axis=(1, 2)))

    def __len__(self) -> int:
        return len(self._slices) + len(self._synthetic)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image uint8 ``[side, side, 3]`` and mask uint8 ``[side, side]`` of 0 and 1."""
        if number >= len(self._slices):
            return self._synthetic[number - len(self._slices)]
        return self._kept[number] if number < len(self._kept) else self._decode(number)

    @property
    def real(self) -> int:
        """Number of slices that are not synthetic; they come first."""
        return len(self._slices)

    @property
    def in_memory(self) -> float:
        """Share of the slices that is kept in memory."""
        return (len(self._kept) + len(self._synthetic)) / max(1, len(self))

    def _decode(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        item = self._slices[number]
        pixels = load_image(item)
        mask = fit_mask(load_mask(item))
        image, _ = preprocess(pixels)
        return shrink(image, mask, self.side)


def fit_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring a mask to the model's grid by the geometry that `preprocess` gives its image.

    Parameters
    ----------
    mask
        uint8 ``[H, W]`` of 0 and 1.

    Returns
    -------
    ndarray of uint8
        ``[256, 256]`` of 0 and 1: one where at least half of a pixel is tumour.
    """
    if mask.shape == (SIDE, SIDE):
        return mask
    # As an image of three equal channels it takes the very same way as the image.
    levels, _ = preprocess(np.repeat((mask * np.uint8(255))[..., np.newaxis], 3, axis=2))
    return (levels[..., 0] >= 128).astype(np.uint8)  # noqa: PLR2004 - half of 255


def shrink(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Shrink a slice and its mask by area average; the mask is cut at one half."""
    if image.shape[0] == side:
        return image, mask
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    levels = cv2.resize(mask * np.uint8(255), (side, side), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False), (levels >= 128).astype(np.uint8)  # noqa: PLR2004
