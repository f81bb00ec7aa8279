"""Known changes of a slice, to tell how far the figures hold when the input is not as trained.

A change is made to the slice as it was read, and the predicted plane is brought back to the
slice's own grid: every variant is compared with the same reference mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from scanside.preprocess import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ORIGINAL", "VARIANTS", "Variant"]

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]

_PRE, _FLAIR, _POST = (CHANNELS.index(name) for name in ("pre-contrast", "FLAIR", "post-contrast"))


class Variant(NamedTuple):
    """A change and the way back.

    Attributes
    ----------
    name
        What is changed, in words.
    change
        uint8 ``[H, W, 3]`` to the changed slice, whose size may differ.
    back
        The predicted plane of the changed slice, float32, and the size ``(H, W)`` of the slice to
        the plane on the slice's own grid.
    """

    name: str
    change: Callable[[Image], Image]
    back: Callable[[Plane, tuple[int, int]], Plane]


def _same(plane: Plane, _: tuple[int, int]) -> Plane:
    return plane


def _replaced(*channels: int) -> Callable[[Image], Image]:
    """Return what puts FLAIR in place of other sequences."""

    def change(image: Image) -> Image:
        changed: Image = image.copy()
        for channel in channels:
            changed[..., channel] = image[..., _FLAIR]
        return changed

    return change


def _scaled(factor: float) -> Callable[[Image], Image]:
    def change(image: Image) -> Image:
        changed: Image = np.clip(np.rint(image * np.float32(factor)), 0, 255).astype(np.uint8)
        return changed

    return change


def _rotation(degrees: float, height: int, width: int) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = cv2.getRotationMatrix2D(  # type: ignore[assignment]
        ((width - 1) / 2, (height - 1) / 2), degrees, 1.0
    )
    return matrix


def _rotated(degrees: float) -> Variant:
    def change(image: Image) -> Image:
        height, width = image.shape[:2]
        matrix = _rotation(degrees, height, width)
        turned: Image = cv2.warpAffine(image, matrix, (width, height))  # type: ignore[assignment]
        return turned

    def back(plane: Plane, size: tuple[int, int]) -> Plane:
        height, width = size
        matrix = _rotation(-degrees, height, width)
        turned: Plane = cv2.warpAffine(plane, matrix, (width, height))  # type: ignore[assignment]
        return turned

    return Variant(f"rotated by {degrees:g} degrees", change, back)


def _resized(side: int) -> Variant:
    def change(image: Image) -> Image:
        smaller = side < min(image.shape[:2])
        method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        resized: Image = cv2.resize(image, (side, side), interpolation=method)  # type: ignore[assignment]
        return resized

    def back(plane: Plane, size: tuple[int, int]) -> Plane:
        height, width = size
        resized: Plane = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        return resized

    return Variant(f"{side} x {side} pixels", change, back)


ORIGINAL: Final = Variant("as it is", lambda image: image, _same)

VARIANTS: Final = (
    Variant("post-contrast missing: FLAIR in its place", _replaced(_POST), _same),
    Variant("pre- and post-contrast missing: FLAIR in their place", _replaced(_PRE, _POST), _same),
    Variant("intensity times 0.7", _scaled(0.7), _same),
    Variant("intensity times 1.4, clipped at 255", _scaled(1.4), _same),
    _rotated(10.0),
    _resized(128),
    _resized(512),
)
"""What happens at real scanners: sequences left out, another gain, a tilted head, another
matrix."""
