"""A slice three times: A's outline, B's outline, and where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from scanside.writers.pictures import encode_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.comparison.pairs import Half

__all__ = ["A_BGR", "B_BGR", "picture_png"]

A_BGR: Final = (0, 200, 255)
"""Amber, the colour of every overlay of a run."""

B_BGR: Final = (255, 150, 30)
"""Blue: told from amber by people who cannot tell red from green."""

_FLAIR: Final = 1
_FILL: Final = 0.25
_FILL_DIFFERENCE: Final = 0.6
_SIDE: Final = 512
"""Pixels of a panel's longer side, enlarged or reduced: pictures take the same memory whatever
the slice's size."""

_STRIP, _GAP = 46, 6
_WHITE, _GREY = (255, 255, 255), (170, 170, 170)


def picture_png(slice_8bit: NDArray[np.uint8], halves: tuple[Half, Half]) -> bytes:
    """Draw a slice with A's region, with B's, and with the pixels that one side alone outlines.

    Parameters
    ----------
    slice_8bit
        uint8 ``[H, W, 3]``: pre-contrast, FLAIR, post-contrast.
    halves
        A and B.

    Returns
    -------
    bytes
        PNG. On the third panel amber is A alone, blue is B alone.
    """
    height, width = slice_8bit.shape[:2]
    factor = _SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = cv2.INTER_LINEAR if factor > 1 else cv2.INTER_AREA
    flair = cv2.resize(slice_8bit[..., _FLAIR], size, interpolation=smooth)
    grey = cv2.cvtColor(flair, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    masks = [_mask(half, (height, width), size) for half in halves]
    one, other = masks
    difference = grey.copy()
    _fill(difference, one & ~other, A_BGR, _FILL_DIFFERENCE)
    _fill(difference, other & ~one, B_BGR, _FILL_DIFFERENCE)
    _contour(difference, one, A_BGR)
    _contour(difference, other, B_BGR)
    panels = []
    for name, half, mask, colour in zip("AB", halves, masks, (A_BGR, B_BGR), strict=True):
        panel = grey.copy()
        _fill(panel, mask, colour, _FILL)
        _contour(panel, mask, colour)
        panels.append(_captioned(panel, f"{name}  p = {_number(half)}", _found(half), colour))
    apart = int(
        np.count_nonzero(_on_source(halves[0], slice_8bit) ^ _on_source(halves[1], slice_8bit))
    )
    panels.append(_captioned(difference, "difference", f"{apart:,} px: amber A, blue B", _WHITE))
    gap = np.zeros((panels[0].shape[0], _GAP, 3), np.uint8)
    return encode_png(np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1))


def _on_source(half: Half, slice_8bit: NDArray[np.uint8]) -> NDArray[np.bool_]:
    if half.region is None:
        return np.zeros(slice_8bit.shape[:2], np.bool_)
    return half.region.mask > 0


def _mask(half: Half, source: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(source, np.uint8) if half.region is None else half.region.mask
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0


def _fill(
    picture: NDArray[np.uint8], where: NDArray[np.bool_], colour: tuple[int, ...], opacity: float
) -> None:
    mixed = (1 - opacity) * picture[where] + opacity * np.asarray(colour)
    picture[where] = mixed.astype(np.uint8)


def _contour(picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, ...]) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1)


def _captioned(
    panel: NDArray[np.uint8], title: str, line: str, colour: tuple[int, ...]
) -> NDArray[np.uint8]:
    strip = np.zeros((_STRIP, panel.shape[1], 3), np.uint8)
    for text, bottom, tint in ((title, 18, colour), (line, 38, _GREY)):
        cv2.putText(strip, text, (4, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.5, tint, 1, cv2.LINE_AA)
    return np.concatenate([strip, panel], axis=0)


def _number(half: Half) -> str:
    return "not finite" if half.probability is None else f"{half.probability:.3f}"


def _found(half: Half) -> str:
    if half.mask_failed:
        return "output not finite"
    if half.region is None:
        return "not segmented"
    area = f"{half.region.area:,} px"
    return area if half.result.segmented else f"skipped by its gate; would outline {area}"
