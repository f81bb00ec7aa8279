"""Volume, diameter and centroid of a study's masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.postprocess import extent
from scanside.study.model import Measures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.study.grid import Grid

__all__ = ["MM3_PER_ML", "measure"]

MM3_PER_ML: Final = 1000.0


def measure(masks: NDArray[np.bool_], grid: Grid) -> Measures:
    """Measure masks.

    Parameters
    ----------
    masks
        bool ``[S, H, W]``.
    grid
        Their grid, of that shape.
    """
    slices = tuple(int(k) for k in np.flatnonzero(masks.any(axis=(1, 2))))
    if not slices:
        return Measures(0.0, 0.0, None, ())
    row, column, _ = grid.spacing
    diameter = max(extent(masks[k].view(np.uint8), (row, column)) for k in slices)
    voxels = np.argwhere(masks)
    x, y, z = (float(value) for value in grid.to_patient(voxels.mean(axis=0)[::-1]))
    return Measures(len(voxels) * grid.voxel_mm3 / MM3_PER_ML, diameter, (x, y, z), slices)
