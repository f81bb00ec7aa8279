"""Slices to a regular grid: sorted along the normal, and refused where they make none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.study.grid import Grid
from scanside.study.reasons import refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Plane", "Stack", "stack"]

_COSINES: Final = 1e-3
"""Largest difference of direction cosines within a series: 0.06 degrees, a quarter of a millimetre
over a head. Devices write cosines with five digits or more."""

_SAME_POSITION_MM: Final = 0.01
"""Slices closer than this are at one position."""

_SPACING_SHARE: Final = 0.02
"""Largest deviation of a distance between slices from the series' own, as a share of it: positions
of slices 1 mm apart may be rounded to a hundredth of a millimetre."""

_OFF_NORMAL_MM: Final = 0.5
"""Farthest that a slice's corner may lie off the normal through the first slice's: half a usual
pixel, over the whole stack."""


class Plane(NamedTuple):
    """Where a slice lies.

    Attributes
    ----------
    position, orientation
        ImagePositionPatient (3 numbers) and ImageOrientationPatient (6).
    spacing
        PixelSpacing: millimetres between rows, between columns.
    matrix
        Rows, columns.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    matrix: tuple[int, int]


class Stack(NamedTuple):
    """Slices in order.

    Attributes
    ----------
    grid
        Their grid; slices follow each other along columns x rows.
    order
        For each slice of the grid, the index of its plane.
    """

    grid: Grid
    order: tuple[int, ...]


def stack(
    planes: Sequence[Plane], *, thickness: float | None = None, frame_of_reference: str = ""
) -> Stack:
    """Put slices in order.

    Parameters
    ----------
    planes
        In any order, at least one.
    thickness
        Millimetres from slice to slice, where there is only one.
    frame_of_reference
        For the grid.

    Raises
    ------
    InputError
        With the reason ``no geometry``, ``mixed orientations``, ``mixed matrices``, ``duplicate
        positions``, ``missing positions``, ``varying spacing`` or ``slices off the normal``.
    """
    column, row = _axes(planes)
    _same_matrix(planes)
    normal = np.cross(column, row)
    positions = np.array([plane.position for plane in planes], np.float64)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    between = _between(heights[order], thickness)
    first = positions[order[0]]
    expected = first + np.outer(heights[order] - heights[order[0]], normal)
    off = float(np.linalg.norm(positions[order] - expected, axis=1).max())
    if off > _OFF_NORMAL_MM:
        raise refused(
            "slices off the normal",
            f"a slice is shifted by {off:.1f} mm within its plane against the first",
            accepted="slices that lie behind each other along their normal",
            remedy="reformat the series to a regular volume",
        )
    down, across = planes[0].spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = column * across, row * down, normal * between
    affine[:3, 3] = first
    rows, columns = planes[0].matrix
    grid = Grid(affine, (len(planes), rows, columns), frame_of_reference or None)
    return Stack(grid, tuple(int(at) for at in order))


def _axes(planes: Sequence[Plane]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors along which columns and rows count, at right angles."""
    cosines = np.array([plane.orientation for plane in planes], np.float64)
    column, row = cosines[0, :3], cosines[0, 3:]
    lengths = np.linalg.norm([column, row], axis=1)
    if np.abs(lengths - 1).max() > _COSINES or abs(column @ row) > _COSINES:
        raise refused(
            "no geometry",
            "ImageOrientationPatient holds no two unit vectors at right angles",
            accepted="direction cosines",
            remedy="export the series again",
        )
    away = np.abs(cosines - cosines[0]).max()
    if away > _COSINES:
        others = int((np.abs(cosines - cosines[0]).max(axis=1) > _COSINES).sum())
        raise refused(
            "mixed orientations",
            f"{others} of {len(planes)} slices are turned against the first",
            accepted="one orientation a series",
            remedy="give series of one orientation (a localizer has several)",
        )
    column = column / lengths[0]
    row = row - (row @ column) * column
    return column, row / np.linalg.norm(row)


def _same_matrix(planes: Sequence[Plane]) -> None:
    kinds = {(plane.matrix, tuple(round(each, 4) for each in plane.spacing)) for plane in planes}
    if len(kinds) > 1:
        raise refused(
            "mixed matrices",
            f"slices of {len(kinds)} sizes or pixel spacings",
            accepted="one matrix and pixel spacing a series",
        )
    if not all(0 < value < 1e3 for value in planes[0].spacing):  # noqa: PLR2004 - mm
        raise refused(
            "no geometry", "the pixel spacing is no length of a voxel", accepted="millimetres"
        )


def _between(heights: NDArray[np.float64], thickness: float | None) -> float:
    """Return the distance between slices at these heights, in order."""
    if len(heights) == 1:
        if thickness is None or thickness <= 0:
            raise refused(
                "no geometry",
                "one slice, and nothing says how thick it is",
                accepted="several slices, or SpacingBetweenSlices or SliceThickness",
            )
        return thickness
    steps = np.diff(heights)
    if steps.min() < _SAME_POSITION_MM:
        double = int((steps < _SAME_POSITION_MM).sum())
        raise refused(
            "duplicate positions",
            f"{double} of {len(heights)} slices lie where another does",
            accepted="one slice a position",
            remedy="split the series by echo, phase or acquisition, or leave out copies",
        )
    usual = float(np.median(steps))
    odd = np.abs(steps - usual) > _SPACING_SHARE * usual
    if odd.any():
        whole = np.rint(steps[odd] / usual)
        gaps = (whole > 1) & (np.abs(steps[odd] - whole * usual) <= _SPACING_SHARE * whole * usual)
        if gaps.all():
            raise refused(
                "missing positions",
                f"{int((whole - 1).sum())} slices are missing between others {usual:.2f} mm apart",
                accepted="series without gaps",
                remedy="send the series again",
            )
        raise refused(
            "varying spacing",
            f"slices lie {steps.min():.2f} to {steps.max():.2f} mm apart",
            accepted="equal distances between slices",
            remedy="reformat the series to a regular volume",
        )
    return float(heights[-1] - heights[0]) / (len(heights) - 1)
