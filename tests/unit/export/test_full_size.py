"""ResNet-50 and the ResUNet as they are trained, at full size."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("tf2onnx", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")

import toy
from scanside_export.convert import to_onnx
from scanside_export.parity import run_keras, session

if TYPE_CHECKING:
    from conftest import KerasModels

pytestmark = [pytest.mark.tf, pytest.mark.slow]

SLICES = np.stack([toy.lesion_slice(seed) for seed in range(2)])


@pytest.mark.parametrize(("width", "bias"), [(1.0, True), (0.25, False)])
def test_resnet50_is_53_convolutions(
    keras_models: KerasModels, *, width: float, bias: bool
) -> None:
    from scanside_training.models.resnet50 import build_classifier

    model = keras_models.randomise(build_classifier(width=width, bias=bias).inference)
    graph = to_onnx(model, "classifier")
    assert Counter(node.op_type for node in graph.graph.node) == {
        "Cast": 1, "Mul": 1, "Transpose": 1, "Conv": 53, "Relu": 49, "Pad": 1, "MaxPool": 1,
        "GlobalAveragePool": 1, "Squeeze": 1, "MatMul": 1, "Sigmoid": 1,
        "Add": 1 + 16 + 1,  # scaling, residuals, the last layer's bias
    }  # fmt: skip
    found = session(graph.SerializeToString(), "classifier")(SLICES)
    np.testing.assert_allclose(found, run_keras(model, SLICES), atol=1e-4)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_the_resunet_has_no_layout_changes(
    keras_models: KerasModels, *, attention: bool, stem_stride: int
) -> None:
    from scanside_training.models.resunet import build_segmenter

    built = build_segmenter(attention=attention, stem_stride=stem_stride)
    model = keras_models.randomise(built.inference)
    graph = to_onnx(model, "segmenter")
    counts = Counter(node.op_type for node in graph.graph.node)
    assert counts["Transpose"] == counts["Cast"] == counts["Squeeze"] == 1
    assert counts["Reshape"] == 0
    assert counts["Resize"] == (4 if stem_stride == 1 else 5)
    found = session(graph.SerializeToString(), "segmenter")(SLICES)
    np.testing.assert_allclose(found, run_keras(model, SLICES), atol=1e-3)
