"""Trilinear interpolation against ITK, and when there is nothing to interpolate."""

from __future__ import annotations

import numpy as np
import pytest

from scanside.study.grid import Grid
from scanside.study.resample import resample, same_grid

RNG = np.random.default_rng(3)


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float],
         origin: tuple[float, float, float], degrees: float = 0.0) -> Grid:  # fmt: skip
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = turn[:2, :2]
    affine = tilt @ turn @ np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Grid(affine, shape)


def itk(values: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """ITK's linear interpolation; -1 outside."""
    sitk = pytest.importorskip("SimpleITK", reason="the oracle is SimpleITK, which is not here")

    def image(array: np.ndarray, placed: Grid) -> object:
        made = sitk.GetImageFromArray(array)
        steps = np.linalg.norm(placed.affine[:3, :3], axis=0)
        made.SetSpacing(steps.tolist())
        made.SetOrigin(placed.affine[:3, 3].tolist())
        made.SetDirection((placed.affine[:3, :3] / steps).ravel().tolist())
        return made

    like = image(np.zeros(target.shape, np.float32), target)
    moving = image(values.astype(np.float32), source)
    moved = sitk.Resample(moving, like, sitk.Transform(), sitk.sitkLinear, -1.0)
    found: np.ndarray = sitk.GetArrayFromImage(moved)
    return found


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (grid((9, 30, 40), (1, 1, 5), (0, 0, 0)), grid((9, 30, 40), (1, 1, 5), (0.3, -0.4, 1.1))),
        (grid((30, 30, 40), (1, 1, 1), (0, 0, 0)), grid((6, 20, 25), (1.4, 1.3, 5), (1, 1, 2))),
        (grid((9, 30, 40), (0.9, 1, 4), (-20, -15, -18), 11),
         grid((8, 25, 30), (1.1, 0.9, 5), (-16, -10, -16), -7)),
        (grid((1, 30, 40), (1, 1, 5), (0, 0, 0)), grid((1, 30, 40), (1, 1, 5), (0.4, 0.3, 1))),
    ],
)  # fmt: skip
def test_values_and_reach_are_itk_s(source: Grid, target: Grid) -> None:
    values = RNG.integers(0, 256, source.shape, np.uint8)
    wanted = itk(values, source, target)
    found = resample(values, source, target)
    inside = wanted >= 0
    assert inside.any()
    assert found.coverage == pytest.approx(inside.mean(), abs=0.01)
    difference = np.abs(found.values[inside] - np.rint(wanted[inside]))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001  # halves, rounded the other way


def test_the_same_grid_gives_the_same_values() -> None:
    source = grid((5, 20, 30), (0.9, 0.8, 5), (3, 4, 5), 9)
    values = RNG.integers(0, 256, source.shape, np.uint8)
    found = resample(values, source, source)
    assert np.array_equal(found.values, values)
    assert found.coverage == 1


def test_what_is_not_reached_is_black() -> None:
    source = grid((5, 20, 30), (1, 1, 5), (0, 0, 0))
    target = grid((5, 20, 30), (1, 1, 5), (15, 0, 0))
    found = resample(np.full(source.shape, 200, np.uint8), source, target)
    assert found.coverage == pytest.approx(0.5)
    assert set(np.unique(found.values)) == {0, 200}


@pytest.mark.parametrize(
    ("moved", "same"), [(0.0, True), (0.01, True), (0.1, False), (-1.0, False)]
)
def test_grids_are_the_same_within_rounding(moved: float, same: bool) -> None:  # noqa: FBT001
    first = grid((5, 20, 30), (0.9, 0.8, 5), (3, 4, 5), 9)
    second = grid((5, 20, 30), (0.9, 0.8, 5), (3 + moved, 4, 5), 9)
    assert same_grid(first, second) is same
    assert not same_grid(first, grid((5, 20, 31), (0.9, 0.8, 5), (3, 4, 5), 9))
