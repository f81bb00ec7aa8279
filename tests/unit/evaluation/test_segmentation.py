from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from scanside.errors import InputError
from scanside.evaluation.dataset import load_mask
from scanside.evaluation.metrics import dice, hausdorff95, iou, overlap, surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.evaluation.dataset import Dataset

SHAPE = (17, 13)
noise = arrays(np.bool_, SHAPE)
boxes = st.tuples(
    st.integers(0, 16), st.integers(1, 17), st.integers(0, 12), st.integers(1, 13)
).map(lambda box: _box(*box))
masks = noise | boxes
pairs = st.tuples(masks, masks)


def _box(top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def _reference_hd95(
    one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, float]
) -> float:
    """MONAI's definition, in SciPy's terms."""
    edges = [mask ^ ndimage.binary_erosion(mask) for mask in (one, other)]
    directed = [
        ndimage.distance_transform_edt(~edges[1 - at], sampling=spacing)[edges[at]] for at in (0, 1)
    ]
    return max(float(np.percentile(distances, 95)) for distances in directed)


@given(pairs)
def test_overlap_is_that_of_scikit_learn(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    predicted, true = pair
    counts = overlap(predicted, true)
    if counts.predicted + counts.true:
        flat = true.ravel(), predicted.ravel()
        assert dice(*counts) == pytest.approx(reference.f1_score(*flat))
        assert iou(*counts) == pytest.approx(reference.jaccard_score(*flat))
    else:
        assert dice(*counts) == iou(*counts) == 1.0


@given(pairs)
def test_dice_and_iou_are_one_figure(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    counts = overlap(*pair)
    assert dice(*counts) == pytest.approx(2 * iou(*counts) / (1 + iou(*counts)))
    assert 0 <= iou(*counts) <= dice(*counts) <= 1
    swapped = overlap(*pair[::-1])
    assert dice(*counts) == dice(*swapped)


@given(masks)
def test_surface_is_that_of_scipy(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(surface(mask), mask ^ ndimage.binary_erosion(mask))


@given(pairs, st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)) | st.just((1.0, 1.0)))
def test_hausdorff95_is_that_of_scipy(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]], spacing: tuple[float, float]
) -> None:
    predicted, true = pair
    measured = hausdorff95(predicted, true, spacing)
    if predicted.any() and true.any():
        assert measured == pytest.approx(_reference_hd95(predicted, true, spacing))
    else:
        assert math.isnan(measured) or math.isinf(measured)


def test_hausdorff95_of_large_masks_in_several_steps() -> None:
    random = np.random.default_rng(3)
    one, other = random.random((2, 96, 96)) > 0.7
    assert np.count_nonzero(surface(one)) * np.count_nonzero(surface(other)) > 1 << 22
    assert hausdorff95(one, other) == pytest.approx(_reference_hd95(one, other, (1, 1)))


def test_by_hand() -> None:
    true = _box(0, 4, 0, 5)
    predicted = _box(0, 4, 3, 8)
    counts = overlap(predicted, true)
    assert counts == (8, 20, 20)
    assert dice(*counts) == pytest.approx(0.4)
    assert iou(*counts) == pytest.approx(8 / 32)
    # Every column is moved by 3: the farthest column of either is 3 away from the other.
    assert hausdorff95(predicted, true) == 3.0
    assert hausdorff95(predicted, true, (2.0, 0.5)) == 1.5


def test_empty_masks() -> None:
    empty, full = np.zeros(SHAPE, bool), _box(2, 5, 2, 5)
    assert dice(*overlap(empty, empty)) == iou(*overlap(empty, empty)) == 1.0
    for pair in ((empty, full), (full, empty)):
        assert dice(*overlap(*pair)) == iou(*overlap(*pair)) == 0.0
        assert hausdorff95(*pair) == math.inf
    assert math.isnan(hausdorff95(empty, empty))


def test_volumes_are_sums_of_slices() -> None:
    slices = np.array([[8, 20, 20], [0, 0, 0], [0, 5, 0]])
    assert dice(*slices.sum(axis=0)) == pytest.approx(16 / 45)
    assert dice(*slices.T).tolist() == pytest.approx([0.4, 1.0, 0.0])


def test_masks_on_other_grids_are_refused() -> None:
    with pytest.raises(InputError, match="one grid"):
        overlap(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="one grid"):
        hausdorff95(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)))


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_spacing_that_is_none_is_refused(spacing: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="spacing"):
        hausdorff95(_box(0, 2, 0, 2), _box(0, 3, 0, 3), spacing)


def test_neighbouring_slices_of_real_tumours(lgg: Dataset) -> None:
    large = [item for item in lgg.slices if item.tumor_px > 500][:40]
    for one, other in pairwise(large):
        predicted, true = load_mask(one), load_mask(other)
        expected = _reference_hd95(predicted.astype(bool), true.astype(bool), (1, 1))
        assert hausdorff95(predicted, true) == pytest.approx(expected)
        assert overlap(predicted, true)[1:] == (one.tumor_px, other.tumor_px)
