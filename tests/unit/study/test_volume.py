"""The one window of a series: declared, or made of its values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import studies
from scanside.errors import InputError
from scanside.preprocess import Window
from scanside.study.grid import Grid
from scanside.study.volume import Volume, choose_window, eight_bits

SLICES = studies.slices(6)[..., 1]


def volume(stored: np.ndarray, *, slope: float = 1.0, intercept: float = 0.0,
           declared: Window | None = None,
           padding: tuple[int, int] | None = None) -> Volume:  # fmt: skip
    count = len(stored)
    grid = Grid(np.eye(4), stored.shape)
    return Volume(stored, np.full(count, slope), np.full(count, intercept), grid, declared, padding)


@given(
    st.integers(1, 200), st.integers(0, 1000),
    st.sampled_from([1.0, 0.25, -0.5, 1.7, 0.013]), st.sampled_from([0.0, -1024.0, 3.3]),
)  # fmt: skip
def test_a_declared_window_gives_the_grey_levels_back(
    gain: int, offset: int, slope: float, intercept: float
) -> None:
    stored = (SLICES.astype(np.uint16) * gain + offset).astype(np.uint16)
    low, high = sorted((level * gain + offset) * slope + intercept for level in (0, 255))
    series = volume(stored, slope=slope, intercept=intercept, declared=Window(low, high))
    window = choose_window(series)
    found = eight_bits(series, window)
    assert window == Window(low, high)
    assert np.array_equal(found, SLICES if slope > 0 else 255 - SLICES)


def test_a_window_that_clips_tissue_is_for_display() -> None:
    stored = SLICES.astype(np.uint16) * 4
    series = volume(stored, declared=Window(0, 200))
    assert choose_window(series) == choose_window(volume(stored))
    assert choose_window(series, "file") == Window(0, 200)


def test_a_window_far_wider_than_the_values_is_not_their_scale() -> None:
    series = volume(SLICES.astype(np.uint16), declared=Window(0, 65535))
    assert choose_window(series).high < 256


def test_a_window_of_values_reaches_the_brightest_voxel_but_not_a_spike() -> None:
    stored = SLICES.astype(np.uint16) * 4
    assert choose_window(volume(stored)).high == stored.max()
    spiked = stored.copy()
    spiked[2, 3, 3] = 60_000
    assert stored.max() < choose_window(volume(spiked)).high < 7 * stored.max()


def test_slices_of_several_scales_share_one_window() -> None:
    stored = np.stack([SLICES[0], SLICES[0]]).astype(np.uint16) * np.uint16([[[4]], [[2]]])
    series = Volume(stored, np.array([1.0, 2.0]), np.zeros(2), Grid(np.eye(4), stored.shape))
    found = eight_bits(series, choose_window(series))
    assert np.array_equal(found[0], found[1])


def test_padding_is_black_and_counts_for_nothing() -> None:
    stored = SLICES.astype(np.int16) * 4
    padded = stored.copy()
    padded[:, :3], padded[:, 3:5] = -32768, -32000
    series = volume(padded, padding=(-32768, -32000))
    window = choose_window(series)
    assert window == choose_window(volume(stored[:, 5:]))
    assert (eight_bits(series, window)[:, :5] == 0).all()


@given(st.integers(0, 2**32 - 1))
def test_percentiles_of_integers_are_numpy_s(seed: int) -> None:
    stored = np.random.default_rng(seed).integers(-300, 4000, (3, 20, 20), np.int16)
    low = np.percentile(stored, 0.1, method="inverted_cdf")
    assert choose_window(volume(stored)).low == low


def test_the_hash_tells_values_and_scales_apart() -> None:
    stored = SLICES.astype(np.uint16)
    changed = stored.copy()
    changed[0, 0, 0] += 1
    hashes = {volume(stored).sha256, volume(changed).sha256, volume(stored, slope=2).sha256}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("series", "rule", "message"),
    [
        (volume(np.full((2, 3, 3), 7, np.int16)), "auto", "all values of the series are equal"),
        (volume(SLICES.astype(np.uint16)), "file", "names no window"),
        (
            volume(np.full((2, 3, 3), 7, np.int16), padding=(7, 7)),
            "auto",
            "every voxel .* is padding",
        ),
    ],
)
def test_series_without_a_window_are_refused(series: Volume, rule: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_window(series, rule)  # type: ignore[arg-type]
