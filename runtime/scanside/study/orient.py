"""How a volume must be turned for the models to see what they were trained on."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, cast

import numpy as np

from scanside.study.grid import Grid
from scanside.study.model import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["axial_view", "seen"]


def axial_view(grid: Grid) -> View:
    """Return the exchange and turn of axes that comes nearest to axial slices.

    Columns count to the patient's left, rows to posterior and slices to the head: the nearest is
    the one that makes the sum of the three cosines largest. Of equally near ones (an acquisition
    at exactly 45 degrees) the first counts, so that the same grid always gives the same view.

    Parameters
    ----------
    grid
        The grid as acquired.
    """
    cosines = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    # Rows: z, y, x, as axes of the array; columns: the array's slice, row and column axis.
    table = cosines[::-1, ::-1]
    best = max(permutations(range(3)), key=lambda axes: round(_nearness(table, axes), 9))
    axes = cast("tuple[int, int, int]", best)
    first, second, third = (bool(table[at, axis] < 0) for at, axis in enumerate(axes))
    return View(axes, (first, second, third))


def _nearness(table: NDArray[np.float64], axes: tuple[int, ...]) -> float:
    return float(sum(abs(table[at, axis]) for at, axis in enumerate(axes)))


def seen(grid: Grid, view: View) -> Grid:
    """Return the grid of what `view.apply` makes of an array on `grid`."""
    affine = np.eye(4)
    affine[:3, 3] = grid.affine[:3, 3]
    for at, (axis, turned) in enumerate(zip(view.axes, view.turned, strict=True)):
        step = grid.affine[:3, 2 - axis]
        affine[:3, 2 - at] = -step if turned else step
        if turned:
            affine[:3, 3] += (grid.shape[axis] - 1) * step
    first, second, third = (grid.shape[axis] for axis in view.axes)
    return Grid(affine, (first, second, third), grid.frame_of_reference_uid)
