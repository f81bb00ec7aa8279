"""Masks and overlays: what is drawn, and that it is stored without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from scanside.writers.pictures import draw_overlay, encode_png, mask_png, overlay_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

AMBER = (0, 200, 255)


def decoded(png: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture.astype(np.uint8, copy=False)


def region(height: int, width: int) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 1
    return mask


@pytest.mark.parametrize("shape", [(256, 256), (40, 90), (300, 200), (512, 512), (600, 700)])
def test_an_overlay_shows_measured_grey_levels_and_nothing_else(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    mask = region(*shape)
    picture = decoded(overlay_png(pixels, mask))
    factor = max(1, -(-512 // max(shape)))
    assert picture.shape == (shape[0] * factor, shape[1] * factor, 3)

    enlarged = np.repeat(np.repeat(pixels[..., 1], factor, 0), factor, 1)[..., np.newaxis]
    inside = np.repeat(np.repeat(mask, factor, 0), factor, 1) > 0
    line = (picture == AMBER).all(axis=2)
    assert (picture == enlarged)[~inside].all()
    fill = (0.75 * enlarged + 0.25 * np.asarray(AMBER)).astype(np.uint8)
    assert (picture == fill)[inside & ~line].all()
    rim = inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    assert (line == rim)[inside].all()


def test_a_mask_is_stored_as_255_inside_and_0_outside() -> None:
    mask = region(70, 50)
    assert np.array_equal(decoded(mask_png(mask)), np.where(mask > 0, 255, 0))


def test_png_is_lossless_and_no_larger_than_with_the_defaults() -> None:
    smooth = cv2.GaussianBlur(
        np.random.default_rng(2).integers(0, 256, (256, 256, 3), np.uint8), (9, 9), 0
    ).astype(np.uint8)
    picture = draw_overlay(smooth, region(256, 256))
    png = encode_png(picture)
    assert np.array_equal(decoded(png), picture)
    default = cv2.imencode(".png", picture)[1]
    assert len(png) < len(default)
