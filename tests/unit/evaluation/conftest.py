"""A small labelled dataset on disk, made of random pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from scanside.evaluation.dataset import index_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from scanside.evaluation.dataset import Dataset


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes patients with the given tumour areas, slice by slice."""

    def write(
        patients: Mapping[str, Sequence[int]], *, suffix: str = ".tif", name: str = "set"
    ) -> Path:
        random = np.random.default_rng(7)
        for patient, areas in patients.items():
            folder = tmp_path / name / patient
            folder.mkdir(parents=True)
            for number, area in enumerate(areas, 1):
                image = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                mask = np.zeros((40, 48), np.uint8)
                mask.ravel()[:area] = 255
                stem = folder / f"{patient}_{number}"
                assert cv2.imwrite(f"{stem}{suffix}", image)
                if area or suffix == ".tif":
                    mask_suffix = ".tif" if suffix == ".tif" else ".png"
                    assert cv2.imwrite(f"{stem}_mask{mask_suffix}", mask)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def lgg(data_root: Path) -> Dataset:
    """Return the real dataset, decoded once."""
    return index_dataset(data_root / "lgg")
