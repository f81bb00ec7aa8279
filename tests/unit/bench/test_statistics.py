"""The statistics against numpy, scipy and series whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scanside.bench.statistics import (
    block_length,
    coefficient_of_variation,
    mean,
    median,
    normalised,
    parse_percentiles,
    percentile,
    ratio_interval,
    window_medians,
)
from scanside.errors import UsageError

milliseconds = arrays(np.float64, st.integers(2, 60), elements=st.floats(0.01, 1e4))


@given(milliseconds, st.floats(0, 100))
def test_percentile_is_the_smallest_sample_that_p_percent_do_not_exceed(
    values: np.ndarray, percent: float
) -> None:
    found = percentile(values, percent)
    assert found in values
    share = np.count_nonzero(values <= found) / len(values)
    assert share >= percent / 100 - 1e-9
    smaller = values[values < found]
    if len(smaller):
        below = np.count_nonzero(values <= smaller.max()) / len(values)
        assert below < percent / 100 + 1e-9


def test_percentile_of_ten_samples_by_hand() -> None:
    values = np.arange(1.0, 11.0)
    assert [percentile(values, p) for p in (0, 50, 90, 91, 99, 100)] == [1, 5, 9, 10, 10, 10]


@given(milliseconds)
def test_coefficient_of_variation_is_scipys(values: np.ndarray) -> None:
    assert coefficient_of_variation(values) == pytest.approx(
        float(stats.variation(values, ddof=1)), abs=1e-9
    )


def test_one_sample_has_no_coefficient_of_variation() -> None:
    assert coefficient_of_variation(np.array([3.0])) is None


@given(milliseconds, st.floats(0.1, 10))
def test_normalised_takes_the_class_out(values: np.ndarray, factor: float) -> None:
    groups = np.arange(len(values)) % 2
    scaled = np.where(groups == 1, values * factor, values)
    np.testing.assert_allclose(normalised(scaled, groups), normalised(values, groups), rtol=1e-9)
    for group in (0, 1):
        assert np.median(normalised(values, groups)[groups == group]) == pytest.approx(1)


@given(milliseconds, st.integers(1, 5))
def test_windows_cover_the_series_in_order(values: np.ndarray, count: int) -> None:
    count = min(count, len(values))
    found = window_medians(values, count)
    assert len(found) == count
    edges = np.cumsum([0, *(len(part) for part in np.array_split(values, count))])
    for n in range(count):
        assert found[n] == np.median(values[edges[n] : edges[n + 1]])


@given(st.integers(1, 10**6))
def test_block_length_is_the_cube_root_rounded_up(count: int) -> None:
    length = block_length(count)
    assert length**3 >= count
    assert (length - 1) ** 3 < count


@given(milliseconds, milliseconds, st.floats(0.2, 5))
def test_ratio_scales_with_its_numerator(new: np.ndarray, old: np.ndarray, factor: float) -> None:
    plain = ratio_interval(new, old, median, seed=1, resamples=50)
    scaled = ratio_interval(new * factor, old, median, seed=1, resamples=50)
    assert np.allclose(np.array(scaled), np.array(plain) * factor)
    assert plain.low <= plain.high
    assert plain == ratio_interval(new, old, median, seed=1, resamples=50)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    true, held, trials = 1.1, 0, 120
    for seed in range(trials):
        new, old = (np.exp(random.normal(0, 0.2, 150)) for _ in range(2))
        ratio = ratio_interval(new * true, old, median, seed=seed, resamples=200)
        held += ratio.low <= true <= ratio.high
    assert 0.87 <= held / trials <= 1.0


def test_blocks_widen_the_interval_of_a_series_whose_neighbours_are_alike() -> None:
    random = np.random.default_rng(3)
    walk = np.zeros(600)
    for n in range(1, 600):
        walk[n] = 0.95 * walk[n - 1] + random.normal()
    alike = 10 + walk - walk.min()
    shuffled = random.permutation(alike)
    wide, narrow = (
        ratio_interval(series, np.full(10, 10.0), mean, seed=0, resamples=400)
        for series in (alike, shuffled)
    )
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_one_sample_is_too_few_to_compare() -> None:
    with pytest.raises(UsageError, match="2 or more"):
        ratio_interval(np.array([1.0]), np.array([1.0, 2.0]), mean, seed=0)


def test_percentiles_are_parsed_as_trtexec_takes_them() -> None:
    assert parse_percentiles("99,90,99.9,90") == (90, 99, 99.9)


@pytest.mark.parametrize("text", ["", "a", "101", "-1", "90,,99", "nan"])
def test_percentiles_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="0 to 100"):
        parse_percentiles(text)


def test_median_of_an_even_count_is_between_the_two_in_the_middle() -> None:
    assert median([1, 2, 4, 9]) == 3
    assert math.isclose(mean(np.array([1.0, 2.0, 6.0])), 3)
