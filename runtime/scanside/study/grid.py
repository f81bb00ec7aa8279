"""Where voxels lie in the patient: a grid's affine map, its spacing, its axes.

Coordinates are DICOM's patient coordinates in millimetres (LPS: x to the patient's left, y to
posterior, z to the head; PS3.3 C.7.6.2.1.1). Arrays of voxels are ``[slices, rows, columns]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Grid", "Spacing", "pixel_aspect"]

_SQUARE: Final = 0.01
"""Pixels whose sides differ by up to this share count as square: their slices are not resized for
it, which over 256 pixels would move nothing by more than a pixel and a half from the centre."""


class Spacing(NamedTuple):
    """Millimetres between rows, between columns, and between slices.

    Attributes
    ----------
    row, column
        As DICOM's PixelSpacing (0028,0030).
    between_slices
        As DICOM's SpacingBetweenSlices (0018,0088); none where it is not known.
    """

    row: float
    column: float
    between_slices: float | None = None


def pixel_aspect(spacing: Spacing | None) -> float:
    """Return a pixel's height over its width; 1 where it is nearly square or not known."""
    aspect = 1.0 if spacing is None else spacing.row / spacing.column
    return 1.0 if abs(aspect - 1) <= _SQUARE else aspect


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular grid of voxels in the patient.

    Attributes
    ----------
    affine
        float64 ``[4, 4]``: maps the homogeneous voxel index (column, row, slice, 1), the centre
        of the first voxel being (0, 0, 0), to (x, y, z, 1) in millimetres, LPS. Its three axes
        are at right angles. Its determinant may be negative (a left-handed order of slices).
    shape
        Numbers of slices, rows, columns: the shape of an array of voxels.
    frame_of_reference_uid
        DICOM's FrameOfReferenceUID (0020,0052); none for files that have none.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    frame_of_reference_uid: str | None = None

    @property
    def spacing(self) -> Spacing:
        """Distances between rows, columns and slices in millimetres; all three are known."""
        column, row, between = np.linalg.norm(self.affine[:3, :3], axis=0)
        return Spacing(float(row), float(column), float(between))

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in cubic millimetres."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector, float64 ``[3]``, along which slices follow each other."""
        axis = self.affine[:3, 2]
        normal: NDArray[np.float64] = axis / np.linalg.norm(axis)
        return normal

    @property
    def orientation(self) -> tuple[float, float, float, float, float, float]:
        """DICOM's ImageOrientationPatient (0020,0037): where columns, then rows, count to."""
        column, row = (self.affine[:3, axis] for axis in (0, 1))
        column, row = column / np.linalg.norm(column), row / np.linalg.norm(row)
        x, y, z = (float(value) for value in column)
        u, v, w = (float(value) for value in row)
        return x, y, z, u, v, w

    def position(self, number: int) -> tuple[float, float, float]:
        """Return ImagePositionPatient (0020,0032) of a slice: its first voxel's centre, mm."""
        x, y, z = (float(value) for value in self.affine[:3, 3] + number * self.affine[:3, 2])
        return x, y, z

    def to_patient(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map voxel indices to patient coordinates.

        Parameters
        ----------
        indices
            float64 ``[..., 3]``: column, row, slice.

        Returns
        -------
        ndarray of float64
            ``[..., 3]``: x, y, z in millimetres.
        """
        moved: NDArray[np.float64] = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        return moved
