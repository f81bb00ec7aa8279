from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside_training.augment import (
    add_noise,
    augment,
    carve_cavity,
    drop_sequences,
    flip,
    vary_intensity,
    warp,
)
from scanside_training.config import AugmentConfig

SIDE = 64
NOTHING = AugmentConfig(
    flip_horizontal=0,
    affine=0,
    elastic=0,
    intensity=0,
    noise=0,
    missing_sequence=0,
)
GEOMETRY = msgspec.structs.replace(
    NOTHING, flip_horizontal=0.5, flip_vertical=0.5, affine=1.0, elastic=1.0
)


def slice_and_mask(seed: int = 3) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:45, 12:30] = 1
    return image, mask


@given(seed=st.integers(0, 2**32))
def test_shape_dtype_and_values_are_kept(seed: int) -> None:
    image, mask = augment(*slice_and_mask(), AugmentConfig(), np.random.default_rng(seed))
    assert (image.shape, image.dtype) == ((SIDE, SIDE, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((SIDE, SIDE), np.uint8)
    assert set(np.unique(mask)) <= {0, 1}


@given(seed=st.integers(0, 2**32))
def test_the_same_state_gives_the_same_result(seed: int) -> None:
    one = augment(*slice_and_mask(), AugmentConfig(), np.random.default_rng(seed))
    other = augment(*slice_and_mask(), AugmentConfig(), np.random.default_rng(seed))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_another_state_gives_another_result() -> None:
    one = augment(*slice_and_mask(), AugmentConfig(), np.random.default_rng(1))
    other = augment(*slice_and_mask(), AugmentConfig(), np.random.default_rng(2))
    assert not np.array_equal(one[0], other[0])


@given(seed=st.integers(0, 2**32))
def test_geometry_moves_image_and_mask_alike(seed: int) -> None:
    """An image that is its own mask stays it: where it is brightest, the mask is 1."""
    _, mask = slice_and_mask()
    image = np.repeat((mask * np.uint8(254))[..., np.newaxis], 3, axis=2)
    moved, moved_mask = augment(image, mask, GEOMETRY, np.random.default_rng(seed))
    assert np.array_equal(moved[..., 0] >= 127, moved_mask.astype(bool))


@given(seed=st.integers(0, 2**32))
def test_intensity_leaves_the_mask_alone(seed: int) -> None:
    config = msgspec.structs.replace(NOTHING, intensity=1.0, noise=1.0, missing_sequence=1.0)
    image, mask = slice_and_mask()
    varied, same = augment(image, mask, config, np.random.default_rng(seed))
    assert np.array_equal(same, mask)
    assert not np.array_equal(varied, image)


def test_the_input_is_not_changed() -> None:
    image, mask = slice_and_mask()
    before = image.copy(), mask.copy()
    augment(image, mask, AugmentConfig(), np.random.default_rng(1))
    assert np.array_equal(image, before[0])
    assert np.array_equal(mask, before[1])


def test_nothing_configured_changes_nothing() -> None:
    image, mask = slice_and_mask()
    same, same_mask = augment(image, mask, NOTHING, np.random.default_rng(1))
    assert np.array_equal(same, image)
    assert np.array_equal(same_mask, mask)


def test_flips_are_mirrors() -> None:
    image, mask = slice_and_mask()
    flipped, flipped_mask = flip(image, mask, horizontal=True, vertical=False)
    assert np.array_equal(flipped, image[:, ::-1])
    assert np.array_equal(flipped_mask, mask[:, ::-1])
    flipped, _ = flip(image, mask, horizontal=False, vertical=True)
    assert np.array_equal(flipped, image[::-1])


def test_warp_takes_each_pixel_from_its_source() -> None:
    image, mask = slice_and_mask()
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    moved, moved_mask = warp(image, mask, np.stack([columns + 3, rows - 5], axis=-1))
    assert np.array_equal(moved[5:, :-3], image[:-5, 3:])
    assert np.array_equal(moved_mask[5:, :-3], mask[:-5, 3:])
    assert not moved[:5].any()
    assert not moved[:, -3:].any()


@given(degrees=st.floats(0, 30), seed=st.integers(0, 99))
def test_rotation_keeps_the_area(degrees: float, seed: int) -> None:
    config = msgspec.structs.replace(
        NOTHING, affine=1.0, rotation_degrees=degrees, scale=0.0, shift=0.0
    )
    image, mask = slice_and_mask()
    _, turned = augment(image, mask, config, np.random.default_rng(seed))
    assert int(turned.sum()) == pytest.approx(int(mask.sum()), rel=0.08)


@pytest.mark.parametrize("only_post", [True, False])
def test_flair_stands_in(only_post: bool) -> None:  # noqa: FBT001 - a parameter of the test
    image, _ = slice_and_mask()
    result = drop_sequences(image, only_post=only_post)
    assert np.array_equal(result[..., 1], image[..., 1])
    assert np.array_equal(result[..., 2], image[..., 1])
    assert np.array_equal(result[..., 0], image[..., 0 if only_post else 1])


def test_black_stays_black() -> None:
    config = msgspec.structs.replace(NOTHING, intensity=1.0, offset=40.0)
    black = np.zeros((8, 8, 3), np.uint8)
    for seed in range(20):
        assert not vary_intensity(black, config, np.random.default_rng(seed)).any()


def test_intensity_keeps_the_order_of_grey_levels() -> None:
    config = msgspec.structs.replace(NOTHING, intensity=1.0)
    ramp = np.repeat(np.arange(1, 256, dtype=np.uint8)[:, np.newaxis, np.newaxis], 3, axis=2)
    for seed in range(20):
        varied = vary_intensity(ramp, config, np.random.default_rng(seed))
        assert (np.diff(varied[:, 0].astype(int), axis=0) >= 0).all()


def test_noise_has_the_given_deviation() -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    noisy = add_noise(grey, 6.0, np.random.default_rng(4)).astype(float)
    assert noisy.std() == pytest.approx(6.0, rel=0.05)
    assert noisy.mean() == pytest.approx(128.0, abs=0.2)


@given(seed=st.integers(0, 2**32))
def test_a_cavity_is_dark_and_inside_the_tumour(seed: int) -> None:
    image, mask = slice_and_mask()
    carved = carve_cavity(image, mask, np.random.default_rng(seed))
    assert (carved.shape, carved.dtype) == (image.shape, np.uint8)
    assert (carved <= image).all()
    # The border is soft: half a pixel's blur at this size reaches two pixels, not three.
    far = cv2.dilate(mask, np.ones((7, 7), np.uint8)) == 0
    assert np.array_equal(carved[far], image[far])


def test_cavities_are_carved_and_stay_tumour() -> None:
    config = msgspec.structs.replace(NOTHING, cavity=1.0)
    image, mask = slice_and_mask()
    results = [augment(image, mask, config, np.random.default_rng(seed)) for seed in range(20)]
    assert all(np.array_equal(result[1], mask) for result in results)
    darkened = [(result[0][mask > 0] < image[mask > 0]).any() for result in results]
    assert np.mean(darkened) > 0.9
    empty = np.zeros_like(mask)
    same, _ = augment(image, empty, config, np.random.default_rng(1))
    assert np.array_equal(same, image)
