"""From the mask's probabilities to regions and their measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from scanside.records import BoundingBox

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Region", "extent", "is_probability_map", "outline"]

_EIGHT_CONNECTED = 8


class Region(NamedTuple):
    """The mask of one slice and its measures on the source grid.

    Attributes
    ----------
    mask
        uint8 ``[H, W]``, 1 inside and 0 outside.
    area
        Number of mask pixels.
    components
        Number of 8-connected parts.
    box
        The smallest box around the mask; none where the mask is empty.
    """

    mask: NDArray[np.uint8]
    area: int
    components: int
    box: BoundingBox | None


def is_probability_map(plane: NDArray[np.float32]) -> bool:
    """Tell whether every value is a finite number from 0 to 1.

    Written with comparisons that NaN fails, on the two extremes: NaN spreads into both.
    """
    return bool(plane.min() >= 0.0 and plane.max() <= 1.0)


def outline(probability: NDArray[np.float32], threshold: float) -> Region:
    """Cut the mask's probabilities at a threshold and measure what is inside.

    Parameters
    ----------
    probability
        float32 ``[H, W]`` on the source grid, each from 0 to 1.
    threshold
        A pixel with ``probability >= threshold`` belongs to the mask.
    """
    mask = (probability >= threshold).astype(np.uint8)
    area = int(np.count_nonzero(mask))
    if area == 0:
        return Region(mask, 0, 0, None)
    labels = cv2.connectedComponents(mask, connectivity=_EIGHT_CONNECTED)[0]
    left, top, width, height = cv2.boundingRect(mask)
    box = BoundingBox(top=top, left=left, bottom=top + height, right=left + width)
    return Region(mask, area, labels - 1, box)


def extent(mask: NDArray[np.uint8], spacing: tuple[float, float]) -> float:
    """Return the largest distance between the centres of two mask pixels.

    Parameters
    ----------
    mask
        uint8 ``[H, W]``, not zero inside.
    spacing
        Millimetres between rows and between columns, as DICOM's PixelSpacing (0028,0030).

    Returns
    -------
    float
        Millimetres; 0 for an empty mask or a single pixel.
    """
    if not mask.any():
        return 0.0
    corners = cv2.convexHull(cv2.findNonZero(mask))[:, 0, :]
    hull = corners * np.array([spacing[1], spacing[0]])
    offsets = hull[:, np.newaxis, :] - hull[np.newaxis, :, :]
    return float(np.sqrt((offsets**2).sum(axis=2).max()))
