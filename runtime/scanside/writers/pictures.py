"""Masks and overlays as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from scanside.errors import InternalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["draw_overlay", "encode_png", "mask_png", "overlay_png"]

_FLAIR: Final = 1
_OUTLINE_BGR: Final = (0, 200, 255)
_FILL: Final = 0.25
"""Opacity of the region's fill: the tissue below stays readable."""

_TINTED: Final = (
    (1 - _FILL) * np.arange(256)[:, np.newaxis] + _FILL * np.asarray(_OUTLINE_BGR)
).astype(np.uint8)[:, np.newaxis]
"""uint8 ``[256, 1, 3]``: every grey level below the fill."""

_SHOWN_SIDE: Final = 512
"""Pixels; a smaller slice is shown enlarged so that a one-pixel outline hides little of it."""

_FAST_PNG: Final = (
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
)
"""One filter for every row, and runs alone: an overlay's rows and pixels come in equal pairs, so
that a quarter of them is coded. Half of the time of OpenCV's own choice, and a quarter of its
bytes; with the search for each row's best filter the bytes are a fifth more."""


def mask_png(mask: NDArray[np.uint8]) -> bytes:
    """Encode a mask: 255 inside and 0 outside, on the source grid.

    Parameters
    ----------
    mask
        uint8 ``[H, W]``, not zero inside.
    """
    return encode_png(np.where(mask > 0, np.uint8(255), np.uint8(0)))


def overlay_png(slice_8bit: NDArray[np.uint8], mask: NDArray[np.uint8]) -> bytes:
    """Encode what `draw_overlay` draws."""
    return encode_png(draw_overlay(slice_8bit, mask))


def draw_overlay(slice_8bit: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw the region's outline and a light fill over the slice's FLAIR.

    Parameters
    ----------
    slice_8bit
        uint8 ``[H, W, 3]``: pre-contrast, FLAIR, post-contrast.
    mask
        uint8 ``[H, W]``, not zero inside.

    Returns
    -------
    ndarray of uint8
        ``[f H, f W, 3]``, blue first: each pixel of the slice as a square of f x f, so that no
        grey level is shown that was not measured. f is the least with a side of 512 or more.
    """
    factor = max(1, -(-_SHOWN_SIDE // max(mask.shape)))
    size = (mask.shape[1] * factor, mask.shape[0] * factor)
    grey = cv2.cvtColor(np.ascontiguousarray(slice_8bit[..., _FLAIR]), cv2.COLOR_GRAY2BGR)
    filled = cv2.copyTo(cv2.LUT(grey, _TINTED), mask, grey)
    picture = cv2.resize(filled, size, interpolation=cv2.INTER_NEAREST)
    region = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, _OUTLINE_BGR, 1)
    return picture.astype(np.uint8, copy=False)


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture, grey ``[H, W]`` or blue first ``[H, W, 3]``, without loss."""
    done, encoded = cv2.imencode(".png", picture, _FAST_PNG)
    if not done:
        raise InternalError(f"OpenCV did not encode a picture of the shape {picture.shape}")
    return encoded.tobytes()
