"""How the slices of image files are prepared."""

from __future__ import annotations

import numpy as np
import pytest

import toy
from scanside.pipeline import prepare
from scanside.runner import Options
from scanside.study.grid import Spacing


@pytest.mark.parametrize(
    ("spacing", "aspect"),
    [
        (None, 1.0), (Spacing(0.9, 0.9), 1.0), (Spacing(0.9, 0.901, 5.0), 1.0),
        (Spacing(2.0, 1.0), 2.0), (Spacing(0.5, 2.0), 0.25),
    ],
)  # fmt: skip
def test_pixels_that_are_not_square_become_so(spacing: Spacing | None, aspect: float) -> None:
    pixels = toy.lesion_slice(2)[::2]
    found, wanted = Options(spacing=spacing).prepare(pixels), prepare(pixels, aspect=aspect)
    assert found.geometry == wanted.geometry
    assert np.array_equal(found.image, wanted.image)
