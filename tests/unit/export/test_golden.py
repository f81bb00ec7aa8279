from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import toy
from scanside.contract import Thresholds
from scanside.errors import InputError
from scanside_export.golden import Outputs, choose, encode, outputs_of, read_slices

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NEAR = st.floats(float(np.float32(0.4999)), float(np.float32(0.5001)), width=32)
NOTHING = np.zeros((256, 256), np.float32)
REGION = NOTHING.copy()
REGION[60:90, 60:90] = 0.99


def outputs(probability: list[float], planes: list[NDArray[np.float32]] | None = None) -> Outputs:
    found = planes or [REGION if value >= 0.3 else NOTHING for value in probability]
    return Outputs(np.float32(probability).reshape(-1, 1), np.stack(found))


def test_slices_of_a_dataset_are_read_evenly(toy_dataset: Path) -> None:
    found = read_slices(toy_dataset, 16)
    assert found.images.shape == (16, 256, 256, 3)
    assert found.images.dtype == np.uint8
    assert len(found.sha256) == 64
    patients = {name.split("_")[1] for name in found.names}
    assert patients == {"0", "1", "2", "3"}
    everything = read_slices(toy_dataset, 1000)
    assert len(everything.names) == 32
    assert everything.positive.sum() == 16
    np.testing.assert_array_equal(everything.images[0], toy.lesion_slice(0))


def test_goldens_have_both_classes_and_both_routes_and_avoid_the_thresholds(
    thresholds: Thresholds,
) -> None:
    probability = [0.31, 0.6, 0.7, 0.8, 0.89, 0.999, 0.29, 0.05, 0.01, 0.001, 0.002, 0.62]
    positive = np.array([True] * 6 + [False] * 6)
    chosen = choose(positive, outputs(probability), thresholds)
    assert len(chosen) == 6
    assert chosen == sorted(chosen)
    assert not {0, 4, 6}.intersection(chosen), "too close to the gate or to the decision"
    assert 11 in chosen, "a false positive is a kind of its own"
    assert 1 in chosen, "the clear slice nearest to the gate, not a saturated one"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(others=st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=12), data=st.data())
def test_whatever_is_chosen_is_mixed_and_clear(
    thresholds: Thresholds, others: list[tuple[float, bool]], data: st.DataObject
) -> None:
    enough = [(0.6, True), (0.7, True), (0.65, True), (0.01, False), (0.02, False), (0.05, False)]
    slices = data.draw(st.permutations(enough + others))
    probability = np.array([value for value, _ in slices])
    positive = np.array([truth for _, truth in slices])
    chosen = choose(positive, outputs(probability.tolist()), thresholds)
    assert len(chosen) == 6
    odds = probability[chosen] / (1 - probability[chosen] + 1e-12)
    for threshold in (0.3, 0.9):
        ratio = odds / (threshold / (1 - threshold))
        assert (np.abs(np.log(np.maximum(ratio, 1e-9))) > 0.99).all()
    assert set(positive[chosen]) == {True, False}
    assert {value >= 0.3 for value in probability[chosen]} == {True, False}


@pytest.mark.parametrize(
    ("probability", "positive"),
    [
        pytest.param([0.6] * 4 + [0.01] * 4, [True] * 8, id="one class"),
        pytest.param([0.6] * 8, [True, False] * 4, id="one route"),
        pytest.param([0.6, 0.7, 0.6, 0.01, 0.02], [True] * 3 + [False] * 2, id="too few"),
        pytest.param([0.3] * 4 + [0.29] * 4, [True] * 4 + [False] * 4, id="all close"),
        pytest.param([np.nan] * 8, [True, False] * 4, id="not finite"),
    ],
)
def test_without_such_slices_there_is_no_bundle(
    thresholds: Thresholds, probability: list[float], positive: list[bool]
) -> None:
    with pytest.raises(InputError, match="no 6 golden slices") as caught:
        choose(np.array(positive), outputs(probability), thresholds)
    assert "--golden" in caught.value.remedy


def test_masks_of_a_few_pixels_or_none_are_not_golden(
    thresholds: Thresholds,
) -> None:
    tiny, faint = NOTHING.copy(), NOTHING.copy()
    tiny[:5, :5] = 0.99
    faint[60:90, 60:90] = 0.45
    probability = [0.6] * 4 + [0.01] * 4
    positive = np.array([True] * 4 + [False] * 4)
    assert len(choose(positive, outputs(probability), thresholds)) == 6
    for plane in (tiny, faint, NOTHING):
        with pytest.raises(InputError):
            choose(positive, outputs(probability, [plane] * 4 + [NOTHING] * 4), thresholds)


def test_two_goldens_have_an_outlined_tumour(thresholds: Thresholds) -> None:
    probability = [0.6, 0.65, 0.7, 0.62, 0.01, 0.02, 0.03, 0.04]
    positive = np.array([True] * 4 + [False] * 4)
    planes = [NOTHING, REGION, NOTHING, REGION] + [NOTHING] * 4
    assert {1, 3} <= set(choose(positive, outputs(probability, planes), thresholds))
    with pytest.raises(InputError):
        choose(positive, outputs(probability, [NOTHING] * 3 + planes[3:]), thresholds)


def test_the_file_holds_decisions_as_the_runtime_makes_them(thresholds: Thresholds) -> None:
    probability = [0.1, 0.5, 0.95, 0.5, 0.95]
    planes = [REGION, REGION, REGION, NOTHING, NOTHING]
    images = np.stack([toy.lesion_slice(seed) for seed in range(5)])
    held = outputs(probability, planes)
    content = encode(images, held, thresholds)
    assert content == encode(images, held, thresholds), "the same bytes every time"
    with np.load(io.BytesIO(content), allow_pickle=False) as golden:
        assert golden["route"].tolist() == ["skip", *["segment"] * 4]
        assert golden["tumor"].tolist() == ["false", "true", "true", "false", "unknown"]
        assert {golden[name].dtype for name in ("gate", "decision", "mask")} == {np.dtype("f8")}
        np.testing.assert_array_equal(golden["images"], images)
        np.testing.assert_allclose(golden["mask_probability"], np.stack(planes), atol=4e-5)
        assert golden["mask_probability"].dtype == np.float32
        assert golden["tumor_probability"].shape == (5, 1)


@settings(max_examples=10)
@given(plane=arrays(np.float32, (1, 256, 256), elements=st.floats(0, 1, width=32), fill=NEAR))
def test_rounding_never_moves_a_pixel_over_the_threshold(plane: NDArray[np.float32]) -> None:
    held = Thresholds(gate=0.3, decision=0.9, mask=0.49999, chosen="by hand")
    outputs = Outputs(np.float32([[0.5]]), plane)
    content = encode(np.zeros((1, 256, 256, 3), np.uint8), outputs, held)
    with np.load(io.BytesIO(content), allow_pickle=False) as golden:
        rounded = golden["mask_probability"]
    np.testing.assert_array_equal(rounded >= held.mask, plane >= held.mask)
    assert np.abs(rounded - plane).max() <= 2**-15 + 1e-7


def test_both_models_see_one_slice_at_a_time() -> None:
    images = np.stack([toy.lesion_slice(seed) for seed in range(3)])
    seen: list[tuple[int, ...]] = []

    def classify(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(batch.shape)
        return np.zeros((1, 1), np.float32)

    def segment(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(batch.shape)
        return np.zeros((1, 256, 256), np.float32)

    found = outputs_of(images, classify, segment)
    assert set(seen) == {(1, 256, 256, 3)}
    assert (found.tumor_probability.shape, found.mask_probability.shape) == ((3, 1), (3, 256, 256))
