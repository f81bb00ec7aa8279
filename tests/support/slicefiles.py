"""Slices as image files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

import toy

if TYPE_CHECKING:
    from pathlib import Path


def save(path: Path, image: np.ndarray) -> Path:
    """Write channels in the file's order: red is pre-contrast."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path


def two_studies(folder: Path) -> Path:
    """Two studies of three slices each, a lesion in every second slice, one mask file."""
    for study in ("a", "b"):
        for n in range(1, 4):
            save(folder / study / f"s_{n}.png", toy.lesion_slice(n, lesion=n == 2))
    save(folder / "a" / "s_2_mask.png", np.zeros((256, 256), np.uint8))
    return folder
