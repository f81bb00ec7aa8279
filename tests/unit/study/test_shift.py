"""The estimate of a shift: none where there is none, the right one where there is."""

from __future__ import annotations

import numpy as np
import pytest

import studies
from scanside.study.grid import Grid
from scanside.study.shift import MISREGISTERED_MM, estimate_shift

GRID = Grid(np.diag([0.9, 0.9, 5.0, 1.0]), (8, 128, 128))
IMAGES = studies.slices(8, side=128)
# A head that widens from slice to slice, so that slices can be told apart.
for number, image in enumerate(IMAGES):
    rows, columns = np.mgrid[:128, :128] - 64
    image[rows**2 + columns**2 > (24 + 4 * number) ** 2] = 0


def test_sequences_that_lie_on_each_other_are_not_shifted() -> None:
    assert estimate_shift(IMAGES[..., 1], IMAGES[..., 0], GRID).millimetres < MISREGISTERED_MM


@pytest.mark.parametrize(("axis", "voxels"), [(1, 9), (1, -12), (2, 10), (2, -9), (0, 1)])
def test_a_shift_is_found(axis: int, voxels: int) -> None:
    moved = np.roll(IMAGES[..., 0], voxels, axis=axis)
    shift = estimate_shift(IMAGES[..., 1], moved, GRID)
    assert shift.millimetres >= MISREGISTERED_MM
    assert shift.voxels[axis] == pytest.approx(voxels, abs=2)


def test_blank_volumes_are_not_shifted() -> None:
    blank = np.zeros(GRID.shape, np.uint8)
    assert estimate_shift(IMAGES[..., 1], blank, GRID).millimetres == 0
