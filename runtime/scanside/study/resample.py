"""A volume on another grid: trilinear interpolation, in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.study.grid import Grid

__all__ = ["Resampled", "resample", "same_grid"]

_SAME: Final = 0.02
"""Voxels: grids whose centres are nowhere farther apart are one grid. Positions are written with
two or three decimals of a millimetre by some devices; a fiftieth of a voxel shows in no mask."""

_EXTENT: Final = 0.5 + 1e-6
"""Voxels: how far a voxel reaches from its centre. Between the outermost centres and their voxels'
edges the outermost values hold, as in ITK's linear interpolator."""


class Resampled(NamedTuple):
    """A volume on another grid.

    Attributes
    ----------
    values
        uint8, of the grid's shape; 0 where the volume does not reach.
    coverage
        Share of the grid's voxels that the volume reaches.
    """

    values: NDArray[np.uint8]
    coverage: float


def same_grid(first: Grid, second: Grid) -> bool:
    """Tell whether two grids have the same voxels."""
    if first.shape != second.shape:
        return False
    slices, rows, columns = first.shape
    corners = np.array(np.meshgrid([0, columns - 1], [0, rows - 1], [0, slices - 1]), np.float64)
    moved = _index_map(first, second)
    indices = corners.reshape(3, -1)
    away = moved[:3, :3] @ indices + moved[:3, 3:] - indices
    return bool(np.abs(away).max() <= _SAME)


def resample(values: NDArray[np.uint8], source: Grid, target: Grid) -> Resampled:
    """Interpolate a volume trilinearly to another grid.

    Parameters
    ----------
    values
        uint8 ``[slices, rows, columns]`` on `source`.
    source, target
        The grids, in the same frame of reference.
    """
    moved = _index_map(target, source)
    slices, rows, columns = target.shape
    out = np.zeros(target.shape, np.uint8)
    inside = 0
    row, column = np.mgrid[:rows, :columns]
    plane = np.stack([column.ravel(), row.ravel()]).astype(np.float64)
    start = moved[:3, :2] @ plane + moved[:3, 3:]
    for number in range(slices):
        places = start + moved[:3, 2:3] * number
        reached, interpolated = _interpolate(values, places[::-1])
        out[number].ravel()[reached] = interpolated
        inside += int(np.count_nonzero(reached))
    return Resampled(out, inside / out.size)


def _index_map(origin: Grid, destination: Grid) -> NDArray[np.float64]:
    """Return the map of `origin`'s voxel indices to those of `destination`."""
    return np.asarray(np.linalg.solve(destination.affine, origin.affine), np.float64)


def _interpolate(
    values: NDArray[np.uint8], places: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Interpolate at places, float64 ``[3, N]`` (slice, row, column); outside: not reached."""
    last = np.array(values.shape, np.float64)[:, np.newaxis] - 1
    reached = np.all((places >= -_EXTENT) & (places <= last + _EXTENT), axis=0)
    at = np.clip(places[:, reached], 0, last)
    base = np.minimum(at.astype(np.intp), np.maximum(last - 1, 0).astype(np.intp))
    share = (at - base).astype(np.float32)
    step = np.minimum(np.array(values.shape) - 1, 1)  # a single slice has no neighbour
    flat = np.ravel_multi_index(tuple(base), values.shape)
    strides = step * np.array([values.shape[1] * values.shape[2], values.shape[2], 1])
    whole = values.ravel()

    def along(axis: int, offset: NDArray[np.intp]) -> NDArray[np.float32]:
        """Interpolate along the axes from `axis` on."""
        if axis == values.ndim:
            return whole[offset].astype(np.float32)
        here, there = along(axis + 1, offset), along(axis + 1, offset + strides[axis])
        blended: NDArray[np.float32] = here + share[axis] * (there - here)
        return blended

    return reached, np.rint(along(0, flat)).astype(np.uint8)
