"""A series' stored values with what makes intensities of them, and the window that makes 8 bits.

The rule of the window, and why it is this one, is in ``docs/adr/0007-window-of-a-series.md``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from scanside.errors import InputError
from scanside.preprocess import Window, apply_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.study.grid import Grid

__all__ = ["MAX_VOXELS", "WINDOW_RULES", "Volume", "WindowRule", "choose_window", "eight_bits"]

MAX_VOXELS: Final = 2**26
"""Most voxels of a series, 67 million: 256 slices of 512 x 512, the largest usual 3-D matrix. At
16 bits such a series takes 128 MiB."""

WindowRule = Literal["auto", "file", "range"]
WINDOW_RULES: Final[tuple[WindowRule, ...]] = ("auto", "file", "range")

_LOW_SHARE, _HIGH_SHARE = 0.001, 0.999
"""Shares of the voxels that end the robust range. An artefact or a vessel's bright spot takes up
less than a thousandth of a head's volume, about a millilitre and a half."""

_HEADROOM: Final = 6.0
"""Beyond the robust range, at most this many times its width belongs to the window. The models were
trained on series scaled to their brightest voxel, which in the darkest lay 5.5 times as high as the
robust range; a spike of more is an artefact and would leave the brain darker than any they saw."""

_SLACK: Final = 0.02
"""Share of a declared window's width, five grey levels, by which the robust range may exceed it:
values are rounded where they are stored, and windows where they are written."""

_LOOSE: Final = 3.0
"""A declared window up to this many times as wide as the series' whole range is the scale of its
values; a wider one (0 to 65535 for values to 1000) would lose grey levels."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """The values of a series as stored, and their meaning.

    Attributes
    ----------
    stored
        uint8, uint16, int16 or float32 ``[slices, rows, columns]``.
    slopes, intercepts
        float64 ``[slices]``: intensity = stored x slope + intercept.
    grid
        Where the voxels are.
    declared
        The window that the file itself names, in intensities, the same for all slices; none where
        it names none or several.
    padding
        The least and the greatest stored value that mean no measurement (PixelPaddingValue and
        PixelPaddingRangeLimit, PS3.3 C.7.5.1.1.2); none where there is none.
    """

    stored: NDArray[np.generic]
    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    grid: Grid
    declared: Window | None = None
    padding: tuple[int, int] | None = None

    @property
    def sha256(self) -> str:
        """Hash of dtype, shape, stored values and their scale."""
        digest = hashlib.sha256(f"{self.stored.dtype.str}{self.stored.shape}".encode())
        for part in (self.stored, self.slopes, self.intercepts):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def padded(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which stored values mean no measurement, in an array of the same shape."""
        if self.padding is None:
            return np.zeros(stored.shape, np.bool_)
        low, high = self.padding
        found: NDArray[np.bool_] = (stored >= low) & (stored <= high)
        return found

    def intensities(self, number: int) -> NDArray[np.float64]:
        """Return a slice's intensities, float64 ``[rows, columns]``."""
        scaled: NDArray[np.float64] = self.stored[number].astype(np.float64)
        scaled *= self.slopes[number]
        scaled += self.intercepts[number]
        return scaled


def choose_window(volume: Volume, rule: WindowRule = "auto") -> Window:
    """Choose the one window of a series, from all of its values.

    Parameters
    ----------
    volume
        The series.
    rule
        ``range``: from the 0.1th percentile to the largest value, but no farther above the 99.9th
        than `_HEADROOM` allows: as the models' training data were scaled, less its artefacts.
        ``file``: the declared window. ``auto``: the declared window if it is the scale of the
        series' values, that is, covers their robust range and is not much wider than the
        whole; otherwise ``range``, since a window that clips tissue is a choice for display.
        8-bit values without a scale or window count as declaring 0 to 255.

    Raises
    ------
    InputError
        If all values are equal, or `rule` is ``file`` and the series declares no window.
    """
    if rule == "file":
        if volume.declared is None:
            raise InputError(
                "the series names no window that holds for all its slices",
                accepted="a linear window that is the same in every slice",
                remedy="leave --series-window out: a window is then made of the series' values",
            )
        return volume.declared
    values, counts = _distribution(volume)
    smallest, largest = float(values[0]), float(values[-1])
    if not smallest < largest:
        raise InputError(
            "all values of the series are equal",
            accepted="a series that shows something",
            remedy="check the export",
        )
    low, high = (_percentile(values, counts, share) for share in (_LOW_SHARE, _HIGH_SHARE))
    declared = volume.declared or _implied(volume)
    if rule == "auto" and declared is not None:
        wide = (declared.high - declared.low) > _LOOSE * (largest - smallest)
        slack = _SLACK * (declared.high - declared.low)
        if declared.low - slack <= low and high <= declared.high + slack and not wide:
            return declared
    if not low < high:  # nearly everything is background
        low, high = smallest, largest
    return Window(low, min(largest, high + (_HEADROOM - 1) * (high - low)))


def _implied(volume: Volume) -> Window | None:
    """Return the window of 8-bit values without a scale: they pass as they are, as images do."""
    ends = {(float(slope), float(intercept)) for slope, intercept in _scales(volume)}
    if volume.stored.dtype != np.uint8 or len(ends) > 1:
        return None
    return {(1.0, 0.0): Window(0, 255), (-1.0, 0.0): Window(-255, 0)}.get(ends.pop())


def _scales(volume: Volume) -> NDArray[np.float64]:
    """Return the different pairs of slope and intercept, ``[N, 2]``."""
    return np.unique(np.stack([volume.slopes, volume.intercepts], axis=1), axis=0)


def eight_bits(volume: Volume, window: Window) -> NDArray[np.uint8]:
    """Map a series to 8 bits by its window, slice by slice; padding becomes 0.

    Returns
    -------
    ndarray of uint8
        ``[slices, rows, columns]``.
    """
    out = np.empty(volume.stored.shape, np.uint8)
    for number in range(len(out)):
        out[number] = apply_window(volume.intensities(number), window)
    if volume.padding is not None:
        out[volume.padded(volume.stored)] = 0
    return out


def _distribution(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the intensities that occur, in order, and how often; without padding.

    Exact for integers: slices of one scale share one histogram of their stored values.
    """
    values, counts = [], []
    for scale in _scales(volume):
        chosen = volume.stored[(volume.slopes == scale[0]) & (volume.intercepts == scale[1])]
        stored, number = _histogram(chosen)
        kept = ~volume.padded(stored)
        stored, number = stored[kept], number[kept]
        values.append(stored.astype(np.float64) * scale[0] + scale[1])
        counts.append(number)
    every, number = np.concatenate(values), np.concatenate(counts)
    if not every.size:
        raise InputError("every voxel of the series is padding", accepted="measured voxels")
    order = np.argsort(every, kind="stable")
    return every[order], number[order]


def _histogram(stored: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    if stored.dtype.kind == "f":
        return np.unique(stored, return_counts=True)
    depth = 8 * stored.dtype.itemsize
    lowest = -(2 ** (depth - 1)) if stored.dtype.kind == "i" else 0
    number = np.zeros(2**depth, np.int64)
    for plane in stored:
        number += np.bincount(plane.ravel().astype(np.int64) - lowest, minlength=number.size)
    found = np.flatnonzero(number)
    return found + lowest, number[found]


def _percentile(values: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """Return the smallest value that at least this share of the voxels does not exceed."""
    reached = np.cumsum(counts)
    return float(values[np.searchsorted(reached, share * reached[-1])])
