"""Slices through two models to counts: order, grids, and outputs that are refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from scanside.errors import BackendError, InputError
from scanside.evaluation.dataset import DatasetSlice
from scanside_training.measure import measure, predict

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class Bright:
    """A backend that calls bright FLAIR a tumour; subclasses spoil it."""

    name = "bright"
    precision = "fp32"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        return np.float32([[image[..., 1].max() / 255] for image in images])

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (images[..., 1] / 255).astype(np.float32)


@pytest.fixture
def slices(tmp_path: Path) -> list[DatasetSlice]:
    """Return twenty slices; the n-th has a tumour of n pixels, which FLAIR shows."""
    items = []
    for number in range(20):
        image = np.full((256, 256, 3), 40, np.uint8)
        mask = np.zeros((256, 256), np.uint8)
        mask[100, 10 : 10 + number] = 255
        image[mask > 0, 1] = 250
        path = tmp_path / f"p_{number}.png"
        cv2.imwrite(str(path), image)
        cv2.imwrite(str(tmp_path / f"p_{number}_mask.png"), mask)
        items.append(DatasetSlice("p", number, path, tmp_path / f"p_{number}_mask.png", number))
    return items


def test_slices_keep_their_order_and_are_compared_with_their_own_mask(
    slices: list[DatasetSlice],
) -> None:
    backend, done = Bright(), []
    measured = measure(slices, backend, 0.5, done.append)
    assert [each.item for each in measured] == slices
    assert [each.overlap for each in measured] == [(n, n, n) for n in range(20)]
    assert measured[0].probability == pytest.approx(40 / 255)
    assert measured[1].probability == pytest.approx(250 / 255)
    assert math.isnan(measured[0].hd95)
    assert all(each.hd95 == 0 for each in measured[1:])
    assert done == list(range(1, 21))
    assert sum(backend.batches) == 20
    assert max(backend.batches) <= 8


def test_the_threshold_belongs_to_the_mask(slices: list[DatasetSlice]) -> None:
    at = np.float32(250 / 255)
    assert measure(slices[3:4], Bright(), float(at))[0].overlap == (3, 3, 3)
    above = float(np.nextafter(at, np.float32(1)))
    assert measure(slices[3:4], Bright(), above)[0].overlap == (0, 0, 3)
    assert measure(slices[3:4], Bright(), above)[0].hd95 == math.inf


def test_masks_are_compared_on_the_slice_s_own_grid(tmp_path: Path) -> None:
    image, mask = np.zeros((120, 180, 3), np.uint8), np.zeros((120, 180), np.uint8)
    mask[30:70, 40:100] = 1
    image[mask > 0] = 255
    cv2.imwrite(str(tmp_path / "i.png"), image)
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    item = DatasetSlice("p", 1, tmp_path / "i.png", tmp_path / "m.png", 2400)
    prediction = next(predict([item], Bright()))  # type: ignore[call-overload]
    assert prediction.plane.shape == (120, 180)
    assert prediction.image.shape == (120, 180, 3)
    counts = measure([item], Bright(), 0.5)[0].overlap
    assert counts.true == 2400
    assert counts.intersection == pytest.approx(2400, rel=0.01)
    assert counts.predicted == pytest.approx(2400, rel=0.04)


class WrongShape(Bright):
    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return super().classify(images)[:, 0]


class WithChannel(Bright):
    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return super().segment(images)[..., None]


class NoNumber(Bright):
    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(images), 1), np.nan, np.float32)


class Logits(Bright):
    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return super().segment(images) * 9


class OnePixel(Bright):
    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        plane = super().segment(images)
        plane[-1, 3, 4] = np.nan
        return plane


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (WrongShape, r"tumor_probability has the shape \[8\]"),
        (WithChannel, r"mask_probability has the shape \[8, 256, 256, 1\]"),
        (NoNumber, "p slice 0: tumor_probability is nan"),
        (Logits, "p slice 0: mask_probability is not from 0 to 1"),
        (OnePixel, "p slice 7: mask_probability is not from 0 to 1"),
    ],
)
def test_outputs_that_are_none_are_refused(
    slices: list[DatasetSlice], backend: Any, words: str
) -> None:
    with pytest.raises(BackendError, match=words):
        measure(slices, backend(), 0.5)


def test_a_slice_that_went_missing_is_named(slices: list[DatasetSlice]) -> None:
    slices[11].image.unlink()
    with pytest.raises(InputError, match=r"p_11\.png"):
        measure(slices, Bright(), 0.5)
