"""Grids, the axial view of them, and what masks on them measure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.study.grid import Grid
from scanside.study.measure import measure
from scanside.study.model import View
from scanside.study.orient import axial_view, seen

AXIAL = np.array(
    [[0.9, 0, 0, -110.0], [0, 0.8, 0, -90.0], [0, 0, 5.0, -30.0], [0, 0, 0, 1.0]], np.float64
)
SHAPE = (4, 5, 6)

turns = st.tuples(
    st.permutations([0, 1, 2]).map(tuple), st.tuples(st.booleans(), st.booleans(), st.booleans())
)


def _rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(4)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[[a, a, b, b], [a, b, a, b]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        matrix = turn @ matrix
    return matrix


def test_spacing_volume_and_positions_come_from_the_affine() -> None:
    grid = Grid(AXIAL, SHAPE)
    assert grid.spacing == pytest.approx((0.8, 0.9, 5.0))
    assert grid.voxel_mm3 == pytest.approx(0.8 * 0.9 * 5)
    assert grid.position(2) == pytest.approx((-110, -90, -20))
    assert grid.orientation == pytest.approx((1, 0, 0, 0, 1, 0))
    assert grid.normal == pytest.approx((0, 0, 1))


@given(turns)
def test_a_turned_volume_is_seen_as_the_axial_one(turn: tuple[tuple[int, int, int], tuple]) -> None:
    axial = Grid(AXIAL, SHAPE, "1.2.3")
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    made = View(*turn)
    turned = seen(axial, made)
    view = axial_view(turned)
    assert np.array_equal(view.apply(made.apply(volume)), volume)
    back = seen(turned, view)
    assert back.shape == SHAPE
    assert back.frame_of_reference_uid == "1.2.3"
    assert np.allclose(back.affine, AXIAL)


@given(turns)
def test_undo_leads_back(turn: tuple[tuple[int, int, int], tuple]) -> None:
    view = View(*turn)
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    assert np.array_equal(view.undo(view.apply(volume)), volume)


@given(turns, st.tuples(*[st.floats(-20, 20)] * 3))
def test_every_voxel_keeps_its_place_in_the_patient(
    turn: tuple[tuple[int, int, int], tuple], degrees: tuple[float, float, float]
) -> None:
    oblique = Grid(_rotation(degrees) @ AXIAL, SHAPE)
    view = View(*turn)
    places = oblique.to_patient(np.argwhere(np.ones(SHAPE))[:, ::-1].astype(np.float64))
    moved = view.apply(np.arange(len(places)).reshape(SHAPE))
    other = seen(oblique, view)
    again = other.to_patient(np.argwhere(np.ones(other.shape))[:, ::-1].astype(np.float64))
    assert np.allclose(again, places[moved.ravel()])
    assert axial_view(oblique) == View((0, 1, 2), (False, False, False))


def test_measures_of_a_block() -> None:
    masks = np.zeros(SHAPE, bool)
    masks[1:3, 1:4, 2:4] = True
    found = measure(masks, Grid(AXIAL, SHAPE))
    assert found.volume_ml == pytest.approx(12 * 3.6 / 1000)
    assert found.diameter_mm == pytest.approx(np.hypot(2 * 0.8, 0.9))
    assert found.centroid_mm == pytest.approx((-110 + 2.5 * 0.9, -90 + 2 * 0.8, -30 + 1.5 * 5))
    assert found.slices == (1, 2)


def test_an_empty_mask_has_no_centroid() -> None:
    assert measure(np.zeros(SHAPE, bool), Grid(AXIAL, SHAPE)) == (0.0, 0.0, None, ())
