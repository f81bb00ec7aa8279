"""How far one sequence seems to be shifted against another: a warning, never a correction.

Edges are compared, since contrasts differ: the magnitude of the gradient, on a coarse grid, by
normalised cross-correlation over shifts.

References
----------
Lewis (1995): Fast normalized cross-correlation. Vision Interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.study.grid import Grid

__all__ = ["MISREGISTERED_MM", "Shift", "estimate_shift"]

MISREGISTERED_MM: Final = 4.0
"""From this shift on a study is flagged: the estimate's own error is one coarse voxel, about 2.5
mm, and patients who lie still move less than that between sequences."""

_SIDE: Final = 96
"""Rows and columns of the coarse grid."""

_RANGE_MM: Final = 30.0
_BETTER: Final = 1.05
"""How much better than none a shift must explain the edges to be believed."""

_NOISE: Final = 1e-6


class Shift(NamedTuple):
    """An estimate.

    Attributes
    ----------
    millimetres
        Length of the shift; 0 where none explains the edges better.
    voxels
        Slices, rows, columns by which the second volume's content lies farther on.
    """

    millimetres: float
    voxels: tuple[float, float, float]


def estimate_shift(first: NDArray[np.uint8], second: NDArray[np.uint8], grid: Grid) -> Shift:
    """Estimate by how much the second volume is shifted against the first.

    Parameters
    ----------
    first, second
        uint8 ``[S, H, W]`` on `grid`.
    grid
        Their grid.
    """
    edges = [_edges(volume) for volume in (first, second)]
    factor = np.array([1.0, first.shape[1] / _SIDE, first.shape[2] / _SIDE])
    spacing = np.array([grid.spacing.between_slices, *grid.spacing[:2]], np.float64) * factor
    score = _correlation(*edges)
    reach = [
        min(int(_RANGE_MM // step), size // 2)
        for step, size in zip(spacing, score.shape, strict=True)
    ]
    near = score[np.ix_(*(np.arange(-most, most + 1) for most in reach))]
    peak = np.unravel_index(int(near.argmax()), near.shape)
    if near[peak] <= _BETTER * score[0, 0, 0] + _NOISE:
        return Shift(0.0, (0.0, 0.0, 0.0))
    steps = np.array([at - most for at, most in zip(peak, reach, strict=True)], np.float64)
    slices, rows, columns = (float(value) for value in steps * factor)
    return Shift(float(np.linalg.norm(steps * spacing)), (slices, rows, columns))


def _edges(volume: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the in-plane gradient's magnitude on the coarse grid, float64 ``[S, 96, 96]``."""
    out = np.empty((len(volume), _SIDE, _SIDE), np.float64)
    for number, plane in enumerate(volume):
        coarse = cv2.resize(
            np.ascontiguousarray(plane), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
        ).astype(np.float32)
        across = cv2.Sobel(coarse, cv2.CV_32F, 1, 0)
        down = cv2.Sobel(coarse, cv2.CV_32F, 0, 1)
        out[number] = np.sqrt(across**2 + down**2)
    # The strongest edges, of skin and air, say little more than weaker ones.
    return np.minimum(out, np.percentile(out, 95))


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the circular cross-correlation, 1 for equal volumes, at every shift of the second."""
    volumes = [volume - volume.mean() for volume in (first, second)]
    scale = float(np.sqrt((volumes[0] ** 2).sum() * (volumes[1] ** 2).sum()))
    if scale == 0:
        return np.zeros(first.shape)
    spectra = [np.fft.rfftn(volume) for volume in volumes]
    moved = np.fft.irfftn(np.conj(spectra[0]) * spectra[1], s=first.shape, axes=(0, 1, 2))
    return np.asarray(moved / scale, np.float64)
