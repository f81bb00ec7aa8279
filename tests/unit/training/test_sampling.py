from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.errors import InputError
from scanside_training.config import SamplingConfig
from scanside_training.sampling import draw_epoch, epoch_size


def labels(positive: int, negative: int) -> Any:
    return np.arange(positive + negative) < positive


def draw(config: SamplingConfig, positive: Any, *, seed: int = 1, **others: Any) -> Any:
    real = others.pop("real", len(positive))
    return draw_epoch(positive, real, config, np.random.default_rng(seed), **others)


@given(
    positive=st.integers(1, 40),
    negative=st.integers(1, 40),
    share=st.floats(0.1, 0.9),
    size=st.integers(10, 200),
)
def test_an_epoch_has_the_configured_share_of_positives(
    positive: int, negative: int, share: float, size: int
) -> None:
    config = SamplingConfig(slices_per_epoch=size, positive_share=share)
    numbers = draw(config, labels(positive, negative))
    assert len(numbers) == size
    assert int((numbers < positive).sum()) == round(size * share)


@given(size=st.integers(10, 300))
def test_no_slice_is_shown_twice_more_than_another_of_its_class(size: int) -> None:
    numbers = draw(SamplingConfig(slices_per_epoch=size), labels(13, 29))
    counts = np.bincount(numbers, minlength=42)
    assert np.ptp(counts[:13]) <= 1
    assert np.ptp(counts[13:]) <= 1


def test_by_default_every_positive_slice_is_shown_once() -> None:
    config = SamplingConfig(positive_share=0.75)
    positive = labels(60, 200)
    assert epoch_size(positive, config) == 80
    numbers = draw(config, positive)
    assert sorted(numbers[numbers < 60]) == list(range(60))


def test_the_seed_decides() -> None:
    config = SamplingConfig(slices_per_epoch=50)
    one, same, other = (draw(config, labels(30, 30), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_hard_negatives_are_among_the_hardest_tenth() -> None:
    config = SamplingConfig(slices_per_epoch=100, positive_share=0.5, hard_share=1.0)
    hardness = np.zeros(220, np.float32)
    hardness[100:112] = np.arange(1, 13)
    numbers = draw(config, labels(20, 200), hardness=hardness)
    # A tenth of 200: the twelve that the model responds to, and the first eight of the rest.
    assert set(numbers[numbers >= 20].tolist()) == {*range(100, 112), *range(20, 28)}


def test_without_mining_hard_negatives_are_not_drawn_apart() -> None:
    config = SamplingConfig(slices_per_epoch=100, hard_share=0.5)
    assert len(draw(config, labels(20, 200))) == 100


def test_phantoms_come_in_their_share_and_half_with_a_lesion() -> None:
    positive = np.concatenate([labels(50, 50), labels(10, 10)])
    config = SamplingConfig(slices_per_epoch=100, phantom_share=0.2)
    numbers = draw(config, positive, real=100)
    synthetic = numbers[numbers >= 100]
    assert len(synthetic) == 20
    assert int(positive[synthetic].sum()) == 10


@pytest.mark.parametrize(("positive", "kind"), [(0, "positive"), (20, "negative")])
def test_a_class_without_an_example_is_refused(positive: int, kind: str) -> None:
    config = SamplingConfig(slices_per_epoch=10)
    with pytest.raises(InputError, match=f"no {kind} slice"):
        draw(config, labels(positive, 20 - positive))
