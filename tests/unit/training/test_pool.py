from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from scanside.evaluation.dataset import index_dataset, load_image, load_mask
from scanside.preprocess import preprocess
from scanside_training.pool import SlicePool, fit_mask, shrink

if TYPE_CHECKING:
    from pathlib import Path


def test_slices_are_what_preprocess_makes_of_them(tiny: Any) -> None:
    pool = SlicePool(tiny.dataset.slices)
    for number, item in enumerate(tiny.dataset.slices):
        image, mask = pool[number]
        assert np.array_equal(image, preprocess(load_image(item))[0])
        assert np.array_equal(mask, load_mask(item))
        assert pool.positive[number] == item.positive == bool(mask.any())


@pytest.mark.parametrize("megabytes", [0, 1, 2048])
def test_the_memory_budget_changes_nothing_but_memory(tiny: Any, megabytes: int) -> None:
    everything = SlicePool(tiny.dataset.slices)
    pool = SlicePool(tiny.dataset.slices, ram_mb=megabytes)
    # A slice with its mask takes 0.262 MB.
    assert pool.in_memory == min(1.0, megabytes * 1_000_000 // 262_144 / len(pool))
    for number in range(len(pool)):
        for one, other in zip(pool[number], everything[number], strict=True):
            assert np.array_equal(one, other)


def test_synthetic_slices_follow_the_real_ones(tiny: Any) -> None:
    images = np.full((2, 256, 256, 3), 9, np.uint8)
    masks = np.zeros((2, 256, 256), np.uint8)
    masks[1, 100:140, 100:140] = 1
    pool = SlicePool(tiny.dataset.slices, side=64, synthetic=(images, masks))
    assert pool.real == len(tiny.dataset.slices)
    assert len(pool) == pool.real + 2
    assert pool.positive[pool.real :].tolist() == [False, True]
    image, mask = pool[pool.real + 1]
    assert image.shape == (64, 64, 3)
    assert int(mask.sum()) == 100


def test_shrinking_averages_and_halves() -> None:
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    mask = np.zeros((256, 256), np.uint8)
    mask[64:128, 64:128] = 1
    small, small_mask = shrink(image, mask, 128)
    blocks = image.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).max() <= 0.5
    assert int(small_mask.sum()) == int(mask.sum()) // 4


def test_a_mask_takes_the_way_of_its_image(tmp_path: Path) -> None:
    """A slice of another size: the mask covers the bright square after preprocessing too."""
    image = np.full((120, 180, 3), 10, np.uint8)
    mask = np.zeros((120, 180), np.uint8)
    image[30:70, 90:150] = 250
    mask[30:70, 90:150] = 1
    folder = tmp_path / "A"
    folder.mkdir()
    assert cv2.imwrite(str(folder / "A_1.png"), image)
    assert cv2.imwrite(str(folder / "A_1_mask.png"), mask * 255)
    assert cv2.imwrite(str(folder / "A_2.png"), np.roll(image, 7))
    pool = SlicePool(index_dataset(tmp_path).slices)
    pixels, fitted = pool[0]
    assert np.array_equal(pixels[..., 0] >= 130, fitted.astype(bool))
    assert set(np.unique(fit_mask(mask))) == {0, 1}
