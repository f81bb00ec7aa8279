from __future__ import annotations

import pytest

pytest.importorskip("keras", reason="needs the train extra")

from cases.keras_usual import count_macs
from scanside_training.models.resnet50 import build_classifier

pytestmark = pytest.mark.tf


def test_multiply_accumulates_of_resnet_50() -> None:
    # 3.86e9 at 224 pixels with the stride in the first 1 x 1 convolution, as Keras has it
    # (He et al. 2016, table 1: 3.8e9); convolutions grow with the area, the last layer does not.
    expected = 3.86e9 * (256 / 224) ** 2
    assert count_macs(build_classifier().inference) == pytest.approx(expected, rel=0.01)
