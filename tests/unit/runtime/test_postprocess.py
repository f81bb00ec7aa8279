from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage
from scipy.spatial import distance

from scanside.postprocess import extent, is_probability_map, outline

planes = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=16),
    elements=st.floats(0, 1, width=32),
)


@given(planes)
def test_measures_agree_with_scipy(plane: np.ndarray) -> None:
    region = outline(plane, 0.5)
    mask = plane >= 0.5
    assert np.array_equal(region.mask, mask)
    assert region.area == mask.sum()
    assert region.components == ndimage.label(mask, np.ones((3, 3)))[1]
    if not mask.any():
        assert region.box is None
        return
    rows, columns = ndimage.find_objects(mask.astype(int))[0]
    assert region.box is not None
    assert (region.box.top, region.box.bottom) == (rows.start, rows.stop)
    assert (region.box.left, region.box.right) == (columns.start, columns.stop)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.1, 1.1])
def test_one_value_that_is_no_probability_is_seen(value: float) -> None:
    plane = np.full((256, 256), 0.5, np.float32)
    assert is_probability_map(plane)
    plane[200, 3] = value
    assert not is_probability_map(plane)


@given(planes, st.floats(0.1, 5), st.floats(0.1, 5))
def test_extent_is_the_largest_distance_of_two_pixels(
    plane: np.ndarray, row: float, column: float
) -> None:
    mask = (plane >= 0.5).astype(np.uint8)
    points = np.argwhere(mask) * (row, column)
    wanted = distance.pdist(points).max() if len(points) > 1 else 0.0
    assert extent(mask, (row, column)) == pytest.approx(wanted)
