"""A dataset small enough to train on in a test: squares on noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pytest

from scanside.evaluation.dataset import index_dataset
from scanside.evaluation.splits import make_split, write_split

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.evaluation.dataset import Dataset


class Tiny(NamedTuple):
    """Where the tiny dataset is."""

    data: Path
    split: Path
    dataset: Dataset


def write_slices(folder: Path, *, patients: int, slices: int, side: int = 256) -> None:
    """Write patients whose every second slice has a bright square."""
    random = np.random.default_rng(5)
    for patient in range(patients):
        home = folder / f"P{patient}"
        home.mkdir(parents=True)
        for number in range(1, slices + 1):
            image = random.integers(20, 60, (side, side, 3), dtype=np.uint8)
            if number % 2:
                top, left = random.integers(side // 4, side // 2, 2)
                size = side // 4
                image[top : top + size, left : left + size] += 150
                mask = np.zeros((side, side), np.uint8)
                mask[top : top + size, left : left + size] = 255
                assert cv2.imwrite(str(home / f"P{patient}_{number}_mask.png"), mask)
            assert cv2.imwrite(str(home / f"P{patient}_{number}.png"), image)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Six patients of four slices, two of them for validation. Not to be changed."""
    root = tmp_path_factory.mktemp("tiny")
    write_slices(root / "data", patients=6, slices=4)
    dataset = index_dataset(root / "data")
    write_split(root / "split.json", make_split(dataset, seed=1, validation=1 / 3, test=0))
    return Tiny(root / "data", root / "split.json", dataset)
