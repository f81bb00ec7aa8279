from __future__ import annotations

import numpy as np
import pytest

from scanside_training.variants import ORIGINAL, VARIANTS, Variant

BY_NAME = {variant.name: variant for variant in VARIANTS}


def disc(side: int, row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).astype(np.float32)


def picture() -> np.ndarray:
    mask = disc(256, 90, 150, 30)
    return np.stack([40 + 50 * mask, 60 + 120 * mask, 30 + 200 * mask], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("variant", [*VARIANTS, ORIGINAL], ids=lambda variant: variant.name)
def test_a_plane_comes_back_to_where_it_was(variant: Variant) -> None:
    """What a perfect segmenter finds in the changed slice lies where the original region lies."""
    truth = disc(256, 90, 150, 30) > 0
    changed = variant.change(picture())
    flair = changed[..., 1].astype(np.float32)
    found = (flair > (flair.max() + flair.min()) / 2).astype(np.float32)
    back = variant.back(found, (256, 256)) >= 0.5
    assert back.shape == truth.shape
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.97


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_changes_the_slice_and_leaves_its_source(variant: Variant) -> None:
    image = picture()
    before = image.copy()
    changed = variant.change(image)
    np.testing.assert_array_equal(image, before)
    assert changed.dtype == np.uint8
    assert changed.shape != image.shape or (changed != image).any()


def test_flair_stands_in_for_what_is_missing() -> None:
    image = picture()
    post = BY_NAME["post-contrast missing: FLAIR in its place"].change(image)
    np.testing.assert_array_equal(post[..., 2], image[..., 1])
    np.testing.assert_array_equal(post[..., :2], image[..., :2])


def test_intensities_are_clipped_not_wrapped() -> None:
    bright = BY_NAME["intensity times 1.4, clipped at 255"].change(picture())
    assert bright[90, 150].tolist() == [126, 252, 255]
