from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside_calibration.int8.histogram import BINS, Histogram, histogram
from scanside_calibration.int8.search import entropy_amax, mse_amax, percentile_amax

RNG = np.random.default_rng(0)


def of(values: np.ndarray) -> Histogram:
    values = values.astype(np.float32)
    return histogram(values, float(np.abs(values).max()))


def error(values: np.ndarray, amax: float) -> float:
    scale = amax / 127
    return float(np.mean((np.clip(np.rint(values / scale), -127, 127) * scale - values) ** 2))


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0, 99.9, 100.0])
def test_percentile_is_numpys(percentile: float) -> None:
    values = RNG.normal(size=200_000)
    width = np.abs(values).max() / BINS
    expected = np.percentile(np.abs(values), percentile)
    assert percentile_amax(of(values), percentile) == pytest.approx(expected, abs=1.01 * width)


@given(share=st.floats(0, 0.99), percentile=st.floats(1, 100))
def test_percentile_lies_in_the_range(share: float, percentile: float) -> None:
    counts = np.zeros(BINS, np.int64)
    counts[0], counts[-1] = int(1e6 * share), 10
    found = percentile_amax(Histogram(counts, 8.0), percentile)
    assert 8 / BINS <= found <= 8.0


def test_a_percentile_of_all_zeros_but_few_is_above_zero() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[0], counts[-1] = 10**9, 1
    assert percentile_amax(Histogram(counts, 8.0), 99.9) == 8.0 / BINS


def test_mse_of_a_uniform_distribution_clips_nothing() -> None:
    assert mse_amax(of(RNG.uniform(-3, 3, 500_000))) == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("draw", [RNG.normal, RNG.laplace])
def test_mse_is_the_smallest_error_of_a_grid(draw: object) -> None:
    values = draw(size=300_000)  # type: ignore[operator]
    found = of(values)
    chosen = mse_amax(found)
    best = min(error(values, top) for top in np.linspace(found.largest / 16, found.largest, 200))
    assert error(values, chosen) <= 1.01 * best
    assert error(values, chosen) < 0.9 * error(values, found.largest)


def test_mse_of_a_normal_distribution_is_that_of_the_literature() -> None:
    """Near 4 standard deviations for 8 bits (Banner et al. 2019, table 1: 3.92)."""
    assert mse_amax(of(RNG.normal(size=4_000_000))) == pytest.approx(3.92, abs=0.25)


def test_entropy_of_a_uniform_distribution_clips_nothing() -> None:
    assert entropy_amax(of(RNG.uniform(-3, 3, 2_000_000))) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("search", [entropy_amax, mse_amax])
def test_a_lone_outlier_does_not_set_the_range(search: object) -> None:
    values = np.append(RNG.normal(size=1_000_000), 40.0)
    assert 2.5 < search(of(values)) < 12  # type: ignore[operator]


@pytest.mark.parametrize("search", [entropy_amax, mse_amax])
def test_zeros_change_nothing(search: object) -> None:
    """After a Relu most values are 0, which every scale holds exactly."""
    values = np.abs(RNG.normal(size=100_000)) + 0.01
    with_zeros = np.concatenate([values, np.zeros(10_000_000)])
    assert search(of(with_zeros)) == search(of(values))  # type: ignore[operator]


@pytest.mark.parametrize("search", [entropy_amax, mse_amax])
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 20))
def test_the_range_scales_with_the_values(search: object, scale: float, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(1e5 * np.exp(-np.arange(BINS) / 200))
    one = search(Histogram(counts.astype(np.int64), 1.0))  # type: ignore[operator]
    other = search(Histogram(counts.astype(np.int64), scale))  # type: ignore[operator]
    assert other == pytest.approx(one * scale, rel=1e-6)
    assert 128 / BINS <= one <= 1.0


def test_a_tensor_of_one_value() -> None:
    found = of(np.full(1000, 2.5))
    for amax in (percentile_amax(found, 99.99), entropy_amax(found), mse_amax(found)):
        assert amax == pytest.approx(2.5, rel=0.01)


def test_entropy_of_too_few_values_clips_nothing() -> None:
    """Mostly empty bins are no distribution: their divergence would clip at a sixteenth."""
    found = of(RNG.uniform(1, 3, 100))
    assert entropy_amax(found) == found.largest
