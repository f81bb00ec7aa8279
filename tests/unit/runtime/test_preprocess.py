from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from scanside.errors import InputError
from scanside.preprocess import (
    MAX_SIDE,
    MIN_SIDE,
    SIDE,
    Window,
    apply_window,
    fill_missing,
    fit,
    preprocess,
    restore,
    stood_in,
)

sides = st.integers(MIN_SIDE, 700)


@given(npst.arrays(np.uint8, (SIDE, SIDE, 3)))
@settings(max_examples=20)
def test_an_8_bit_slice_of_the_models_size_passes_byte_for_byte(image: np.ndarray) -> None:
    assert np.array_equal(preprocess(image)[0], image)


@given(sides, sides)
def test_the_aspect_is_kept_and_the_slice_fills_one_side(height: int, width: int) -> None:
    where = fit(height, width)
    assert max(where.scaled_height, where.scaled_width) == SIDE
    scale = SIDE / max(height, width)
    assert abs(where.scaled_height - height * scale) <= 0.5
    assert abs(where.scaled_width - width * scale) <= 0.5
    assert 0 <= where.top <= SIDE - where.scaled_height
    assert 0 <= where.left <= SIDE - where.scaled_width


@given(sides, sides)
@settings(max_examples=50)
def test_a_mask_returns_to_the_source_grid(height: int, width: int) -> None:
    """A rectangle drawn on the source comes back where it was, to within one source pixel of
    each scaled pixel."""
    image = np.zeros((height, width, 3), np.uint8)
    top, left = height // 4, width // 4
    bottom, right = max(top + 8, height // 2), max(left + 8, width // 2)
    image[top:bottom, left:right] = 255
    prepared, where = preprocess(image)
    back = restore(prepared[..., 1].astype(np.float32) / 255, where) >= 0.5
    assert back.shape == (height, width)
    rows, columns = np.flatnonzero(back.any(axis=1)), np.flatnonzero(back.any(axis=0))
    slack = max(1.0, max(height, width) / SIDE) + 1
    for found, wanted in zip(
        (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1),
        (top, bottom, left, right),
        strict=True,
    ):
        assert abs(int(found) - wanted) <= slack


@given(st.integers(MIN_SIDE, SIDE), st.booleans())
def test_padding_alone_is_undone_exactly(short: int, upright: bool) -> None:  # noqa: FBT001
    shape = (SIDE, short, 3) if upright else (short, SIDE, 3)
    image = np.random.default_rng(short).integers(0, 256, shape, np.uint8)
    prepared, where = preprocess(image)
    assert np.array_equal(restore(prepared[..., 2].astype(np.float32), where), image[..., 2])
    assert prepared.sum() == image.sum()


@given(st.integers(1, 200), st.integers(-3000, 3000))
def test_a_window_that_inverts_gain_and_offset_is_exact(gain: int, offset: int) -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stored = eight.astype(np.int32) * gain + offset
    assert np.array_equal(apply_window(stored, Window(offset, offset + 255 * gain)), eight)


def test_a_window_clips_on_both_sides() -> None:
    found = apply_window(np.array([-5.0, 0.0, 50.0, 100.0, 500.0]), Window(0, 100))
    assert found.tolist() == [0, 0, 128, 255, 255]


def test_what_overflows_lies_beyond_the_window() -> None:
    assert apply_window(np.array([-1e307, 1e307]), Window(0, 1)).tolist() == [0, 255]


@pytest.mark.parametrize(
    "window", [Window(1, 1), Window(2, 1), Window(0, float("nan")), Window(-1e308, 1e308)]
)
def test_a_window_that_is_none_is_refused(window: Window) -> None:
    with pytest.raises(InputError, match="two finite numbers LO < HI"):
        apply_window(np.zeros((2, 2)), window)


def test_a_grey_slice_is_refused_and_the_message_names_the_option() -> None:
    with pytest.raises(InputError, match="--fill-missing"):
        preprocess(np.zeros((256, 256), np.uint8))


def test_flair_stands_in_for_the_other_two() -> None:
    flair = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    filled = fill_missing(flair)
    assert filled.shape == (64, 64, 3)
    assert all(np.array_equal(filled[..., n], flair) for n in range(3))
    assert np.array_equal(fill_missing(flair[..., None]), filled)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_channel_that_equals_flair_s_everywhere_is_flair_that_stands_in(dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, 120, (64, 60, 3)).astype(dtype)
    assert stood_in(image) == ()
    for channels, names in (
        ([1, 1, 2], ("pre-contrast",)),
        ([0, 1, 1], ("post-contrast",)),
        ([1, 1, 1], ("pre-contrast", "post-contrast")),
        ([0, 1, 0], ()),
    ):
        found = image[..., channels]
        assert stood_in(found) == names
        found[-1, -1, 1] += 1  # one pixel tells two sequences apart
        assert stood_in(found) == ()


def test_a_slice_whose_flair_shows_nothing_tells_nothing() -> None:
    assert stood_in(np.zeros((64, 64, 3), np.uint8)) == ()
    edge = np.zeros((64, 64, 3), np.uint8)
    edge[20:40, 20:40, 0] = 90
    assert stood_in(edge) == ()


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 1, 3), np.uint8, "1 x 1 pixels"),
        ((MIN_SIDE - 1, 256, 3), np.uint8, f"{MIN_SIDE} to {MAX_SIDE}"),
        ((256, MAX_SIDE + 1, 3), np.uint8, f"{MAX_SIDE + 1} x 256"),
        ((256, 256, 4), np.uint8, "shape"),
        ((256, 256, 3), np.complex64, "complex64"),
        ((256, 256, 3), np.bool_, "bool"),
        ((256, 256, 3), np.uint16, "--window LO,HI"),
        ((256, 256, 3), np.float32, "--window LO,HI"),
        ((2, 256, 256, 3), np.uint8, "shape"),
        ((256,), np.uint8, "grey"),
    ],
)
def test_what_is_no_slice_is_refused(shape: tuple[int, ...], dtype: type, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preprocess(np.zeros(shape, dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_counted(value: float) -> None:
    image = np.zeros((64, 64, 3), np.float32)
    image[3, 4, 1] = value
    with pytest.raises(InputError, match="1 of 12288 values are NaN or infinite"):
        preprocess(image, Window(0, 1))


def test_a_window_for_8_bit_pixels_is_refused_not_ignored() -> None:
    with pytest.raises(InputError, match="8-bit pixels pass unchanged"):
        preprocess(np.zeros((64, 64, 3), np.uint8), Window(0, 100))
