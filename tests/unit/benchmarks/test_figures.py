from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbench.figures import best, percentile, ratios, spread

RATES = st.floats(0.1, 1e4)


@given(st.lists(RATES, min_size=1, max_size=9))
def test_a_spread_encloses_its_median(values: list[float]) -> None:
    found = spread(values)
    assert found.low == min(values)
    assert found.high == max(values)
    assert found.low <= found.median <= found.high


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_a_figure_that_is_none_has_no_spread(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one finite"):
        spread(values)


@given(st.lists(st.tuples(RATES, st.floats(0.1, 10)), min_size=1, max_size=9), RATES)
def test_what_slows_a_whole_round_leaves_its_ratio(
    rounds: list[tuple[float, float]], ratio: float
) -> None:
    below = [rate * slow for rate, slow in rounds]
    found = ratios([ratio * value for value in below], below)
    assert found.low == pytest.approx(ratio)
    assert found.high == pytest.approx(ratio)


def test_a_ratio_is_taken_within_a_round() -> None:
    assert ratios([10, 40], [5, 10]) == (3.0, 2.0, 4.0)
    with pytest.raises(ValueError, match="within a round"):
        ratios([1.0, 2.0], [1.0])


@given(st.lists(RATES, min_size=1, max_size=200), st.floats(0, 100))
def test_a_percentile_is_a_sample(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9


def test_the_99th_of_a_thousand_leaves_ten_above() -> None:
    assert percentile(list(range(1, 1001)), 99) == 990


def test_the_best_is_by_the_median() -> None:
    assert best({"steady": [5, 5, 5], "lucky": [1, 1, 99]}) == "steady"
