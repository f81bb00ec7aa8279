"""Masks and overlays as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from scanside.errors import InternalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["mask_png", "overlay_png"]

_FLAIR: Final = 1
_OUTLINE_BGR: Final = (0, 200, 255)
_FILL: Final = 0.25
"""Opacity of the region's fill: the tissue below stays readable."""

_SHOWN_SIDE: Final = 512
"""Pixels; a smaller slice is shown enlarged so that a one-pixel outline hides little of it."""

_FAST_PNG: Final = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def mask_png(mask: NDArray[np.uint8]) -> bytes:
    """Encode a mask: 255 inside and 0 outside, on the source grid.

    Parameters
    ----------
    mask
        uint8 ``[H, W]``, not zero inside.
    """
    return _png(np.where(mask > 0, np.uint8(255), np.uint8(0)))


def overlay_png(slice_8bit: NDArray[np.uint8], mask: NDArray[np.uint8]) -> bytes:
    """Draw the region's outline and a light fill over the slice's FLAIR.

    Parameters
    ----------
    slice_8bit
        uint8 ``[H, W, 3]``: pre-contrast, FLAIR, post-contrast.
    mask
        uint8 ``[H, W]``, not zero inside.
    """
    factor = max(1, -(-_SHOWN_SIDE // max(mask.shape)))
    size = (mask.shape[1] * factor, mask.shape[0] * factor)
    flair = cv2.resize(slice_8bit[..., _FLAIR], size, interpolation=cv2.INTER_LINEAR)
    region = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    picture = cv2.cvtColor(flair, cv2.COLOR_GRAY2BGR)
    inside = region > 0
    fill = (1 - _FILL) * picture[inside] + _FILL * np.asarray(_OUTLINE_BGR)
    picture[inside] = fill.astype(np.uint8)
    contours, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, _OUTLINE_BGR, 1)
    return _png(picture.astype(np.uint8, copy=False))


def _png(picture: NDArray[np.uint8]) -> bytes:
    done, encoded = cv2.imencode(".png", picture, _FAST_PNG)
    if not done:
        raise InternalError(f"OpenCV did not encode a picture of the shape {picture.shape}")
    return encoded.tobytes()
