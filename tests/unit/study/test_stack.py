"""Slices to grids: the order, and each reason for which there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.errors import InputError
from scanside.study.stack import Plane, stack

if TYPE_CHECKING:
    import random

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(
    z: float,
    *,
    x: float = 0.0,
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float] = (0.8, 0.9),
    matrix: tuple[int, int] = (8, 9),
) -> Plane:
    return Plane((x, 0.0, z), orientation, spacing, matrix)


@given(st.integers(2, 20), st.floats(0.3, 8), st.randoms(use_true_random=False))
def test_slices_are_sorted_along_the_normal(
    count: int, between: float, shuffle: random.Random
) -> None:
    heights = [k * between for k in range(count)]
    shuffle.shuffle(heights)
    found = stack([plane(z) for z in heights], frame_of_reference="1.2")
    assert [heights[at] for at in found.order] == sorted(heights)
    assert found.grid.spacing == pytest.approx((0.8, 0.9, between))
    assert found.grid.position(0) == pytest.approx((0, 0, 0))
    assert found.grid.frame_of_reference_uid == "1.2"


def test_the_normal_is_right_handed_whatever_the_orientation() -> None:
    flipped = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    found = stack([plane(z, orientation=flipped) for z in (0.0, 5.0, 10.0)])
    assert found.order == (2, 1, 0)
    assert np.linalg.det(found.grid.affine[:3, :3]) > 0


def test_rounded_positions_are_one_spacing() -> None:
    found = stack([plane(round(k * 3.3333, 2)) for k in range(20)])
    assert found.grid.spacing.between_slices == pytest.approx(3.3333, abs=1e-3)


@pytest.mark.parametrize(
    ("reason", "planes"),
    [
        ("mixed orientations", [plane(0), plane(5, orientation=(0, 1, 0, 0, 0, -1))]),
        ("mixed matrices", [plane(0), plane(5, matrix=(9, 9))]),
        ("mixed matrices", [plane(0), plane(5, spacing=(0.8, 0.91))]),
        ("duplicate positions", [plane(0), plane(5), plane(5), plane(10)]),
        ("missing positions", [plane(z) for z in (0, 5, 10, 20, 25)]),
        ("varying spacing", [plane(z) for z in (0, 5, 10, 16.7, 21.7)]),
        ("slices off the normal", [plane(z, x=z / 4) for z in (0, 5, 10)]),
        ("no geometry", [plane(0, orientation=(1, 0, 0, 1, 0, 0)), plane(5)]),
        ("no geometry", [plane(0, orientation=(2, 0, 0, 0, 2, 0)), plane(5)]),
        ("no geometry", [plane(0, spacing=(0.0, 1.0)), plane(5, spacing=(0.0, 1.0))]),
        ("no geometry", [plane(0)]),
    ],
)
def test_each_refusal_names_its_reason(reason: str, planes: list[Plane]) -> None:
    with pytest.raises(InputError, match=f"^{reason}: "):
        stack(planes)


def test_one_slice_needs_its_thickness() -> None:
    assert stack([plane(3)], thickness=4.0).grid.spacing.between_slices == 4
