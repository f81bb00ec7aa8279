"""Which slices are measured, and in which order."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toy
from scanside import open_bundle
from scanside.bench.workload import (
    check_positive_rate,
    first_pass,
    golden_slices,
    order,
    slices_of,
)
from scanside.errors import InputError, UsageError
from scanside.runner import Options

if TYPE_CHECKING:
    from pathlib import Path

    from scanside import Pipeline


@given(
    st.lists(st.booleans(), min_size=2, max_size=20).filter(lambda c: 0 < sum(c) < len(c)),
    st.floats(0, 1),
    st.integers(0, 9),
    st.integers(1, 200),
)
def test_the_rate_is_right_after_any_number_of_slices(
    classes: list[bool], rate: float, seed: int, count: int
) -> None:
    positive = np.array(classes)
    places = list(itertools.islice(order(positive, rate, seed), count))
    assert int(positive[places].sum()) == int(count * rate)
    assert places == list(itertools.islice(order(positive, rate, seed), count))


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 9))
def test_without_a_rate_every_slice_comes_once_a_round(classes: list[bool], seed: int) -> None:
    positive, number = np.array(classes), len(classes)
    places = list(itertools.islice(order(positive, None, seed), 3 * number))
    for start in range(0, 3 * number, number):
        assert sorted(places[start : start + number]) == list(range(number))


def test_a_rate_needs_slices_of_both_classes() -> None:
    with pytest.raises(UsageError, match="needs positive slices"):
        check_positive_rate(np.zeros(3, np.bool_), 0.1)
    with pytest.raises(UsageError, match="needs negative slices"):
        check_positive_rate(np.ones(3, np.bool_), 0.9)
    check_positive_rate(np.zeros(3, np.bool_), 0)
    check_positive_rate(np.ones(3, np.bool_), 1)
    check_positive_rate(np.ones(3, np.bool_), None)


def test_classes_are_what_the_gate_does(toy_pipeline: Pipeline, toy_path: Path) -> None:
    loaded = golden_slices(open_bundle(toy_path))
    first = first_pass(toy_pipeline, loaded.slices)
    for each, positive in zip(loaded.slices, first.positive, strict=True):
        assert toy_pipeline.analyse(each.pixels).segmented == positive
    assert 0 < first.positive.sum() < len(first.positive)
    assert first.not_finite == 0


def write_slices(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for n in range(count):
        pixels = toy.lesion_slice(n, lesion=n % 2 == 0)
        cv2.imwrite(str(folder / f"s_{n}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def test_a_folder_is_drawn_from_the_same_way_for_one_seed(tmp_path: Path) -> None:
    write_slices(tmp_path / "f", 8)
    drawn = [slices_of(tmp_path / "f", Options(), limit=3, seed=s) for s in (0, 0, 1)]
    assert [len(each.slices) for each in drawn] == [3, 3, 3]
    assert drawn[0].sha256 == drawn[1].sha256 != drawn[2].sha256
    assert np.array_equal(drawn[0].slices[0].pixels, drawn[0].slices[0].prepared.image)


def test_a_slice_that_is_not_accepted_ends_it(tmp_path: Path) -> None:
    write_slices(tmp_path / "f", 1)
    cv2.imwrite(str(tmp_path / "f" / "grey.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match=r"grey\.png"):
        slices_of(tmp_path / "f", Options(), limit=9, seed=0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image in this folder"):
        slices_of(tmp_path, Options(), limit=9, seed=0)
