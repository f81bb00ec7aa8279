"""The architectures: names, shapes, sizes, and that weights survive a file and a change of size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the extra train")

import keras

from scanside.preprocess import SIDE
from scanside_training.machine import build_policy
from scanside_training.models.layers import scaled
from scanside_training.models.resnet50 import build_classifier
from scanside_training.models.resunet import build_segmenter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.tf,
    # Keras 3.15 on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

RESNET50_PARAMETERS = 23_587_712
"""Of ``keras.applications.ResNet50(include_top=False)``."""

SMALL = {"filters": (8, 8, 16)}


@pytest.fixture(scope="module")
def classifier() -> Any:
    return build_classifier(SIDE, width=0.125)


@pytest.fixture(scope="module")
def segmenter() -> Any:
    return build_segmenter(SIDE, **SMALL)


def images(count: int, side: int = SIDE) -> Any:
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_classifier_has_the_contract_of_the_runtime(classifier: Any) -> None:
    model = classifier.inference
    assert [item.name for item in model.inputs] == ["image"]
    assert model.inputs[0].shape == (None, SIDE, SIDE, 3)
    assert model.inputs[0].dtype == "uint8"
    assert model.output_names == ["tumor_probability"]
    assert model.outputs[0].shape == (None, 1)
    assert model.outputs[0].dtype == "float32"


def test_segmenter_has_the_contract_of_the_runtime(segmenter: Any) -> None:
    model = segmenter.inference
    assert [item.name for item in model.inputs] == ["image"]
    assert model.inputs[0].dtype == "uint8"
    assert model.output_names == ["mask_probability"]
    assert model.outputs[0].shape == (None, SIDE, SIDE)
    assert model.outputs[0].dtype == "float32"


def test_full_width_is_resnet50() -> None:
    model = build_classifier(SIDE, bias=True).inference
    assert model.count_params() == RESNET50_PARAMETERS + 2048 + 1
    reference = keras.applications.ResNet50(include_top=False, weights=None)
    shapes = {
        layer.name: [tuple(item.shape) for item in layer.weights]
        for layer in reference.layers
        if layer.weights
    }
    found = {
        layer.name: [tuple(item.shape) for item in layer.weights]
        for layer in model.layers
        if layer.weights
    }
    head = found.pop("tumor_logit")
    assert head == [(2048, 1), (1,)]
    assert found == shapes


def test_default_segmenter_has_about_two_million_parameters() -> None:
    assert 1.8e6 < build_segmenter(None).inference.count_params() < 2.2e6


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(64, 0.25, 16), (64, 0.01, 8), (64, 0.3, 16)]
)
def test_filters_are_multiples_of_eight(filters: int, width: float, expected: int) -> None:
    assert scaled(filters, width) == expected


def test_no_layer_hides_python_code(classifier: Any, segmenter: Any) -> None:
    plain = {
        "Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D",
        "Dense", "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D", "Multiply", "Rescaling",
        "Reshape", "UpSampling2D", "ZeroPadding2D",
    }  # fmt: skip
    gated = build_segmenter(None, **SMALL, attention=True)
    for model in (classifier.inference, segmenter.inference, gated.inference):
        assert {type(layer).__name__ for layer in model.layers} <= plain


def test_auxiliary_decoder_is_left_out_of_the_inference_model(classifier: Any) -> None:
    names = [layer.name for layer in classifier.inference.layers]
    assert not [name for name in names if name.startswith(("auxiliary", "mask"))]
    logit, mask = classifier.training.outputs
    assert logit.shape == (None, 1)
    assert mask.shape == (None, SIDE // 4, SIDE // 4, 1)


def test_pooling_the_input_is_halving_the_slice(classifier: Any) -> None:
    pooled = build_classifier(SIDE, width=0.125, input_pool=2)
    assert pooled.inference.inputs[0].shape == (None, SIDE, SIDE, 3)
    assert pooled.training.outputs[1].shape == (None, SIDE // 8, SIDE // 8, 1)
    pooled.inference.set_weights(classifier.inference.get_weights())
    half = build_classifier(None, width=0.125).inference
    half.set_weights(classifier.inference.get_weights())
    small = np.repeat(np.repeat(images(2, SIDE // 2), 2, axis=1), 2, axis=2)
    one = pooled.inference(small, training=False)
    other = half(small[:, ::2, ::2], training=False)
    assert np.allclose(np.asarray(one), np.asarray(other), atol=1e-6)


def test_training_and_inference_share_their_weights(segmenter: Any) -> None:
    known = {id(variable) for variable in segmenter.training.variables}
    assert {id(variable) for variable in segmenter.inference.variables} <= known
    logits = segmenter.training(images(1), training=False)
    probability = segmenter.inference(images(1), training=False)
    assert np.allclose(keras.ops.sigmoid(logits[..., 0]), probability, atol=1e-6)


def test_scaling_is_inside_the_model(segmenter: Any) -> None:
    layer = segmenter.inference.get_layer("scale")
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(
        np.asarray(layer(levels)), (levels.astype(np.float32) - 128) / np.float32(128)
    )


@pytest.mark.parametrize("which", ["classifier", "segmenter"])
def test_a_model_comes_back_from_its_file(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which).inference
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path, compile=False)
    batch = images(2)
    before, after = model(batch, training=False), loaded(batch, training=False)
    assert loaded.output_names == model.output_names
    assert np.array_equal(np.asarray(before), np.asarray(after))


def test_weights_do_not_depend_on_the_size(segmenter: Any) -> None:
    open_side = build_segmenter(None, **SMALL).inference
    open_side.set_weights(segmenter.inference.get_weights())
    batch = images(1)
    fixed, free = segmenter.inference(batch, training=False), open_side(batch, training=False)
    assert np.allclose(np.asarray(fixed), np.asarray(free)[..., 0], atol=1e-6)
    assert open_side(images(1, 64), training=False).shape == (1, 64, 64, 1)


def test_stem_stride_one_keeps_full_resolution() -> None:
    model = build_segmenter(64, **SMALL, stem_stride=1)
    assert model.inference.get_layer("up0_conv").output.shape == (None, 64, 64, 8)
    assert model.inference.outputs[0].shape == (None, 64, 64)


def test_attention_weighs_the_skip_connections() -> None:
    model = build_segmenter(64, **SMALL, attention=True).inference
    weight = model.get_layer("up0_gate_weight").output
    skip = model.get_layer("down0_relu").output
    assert weight.shape[1:3] == skip.shape[1:3]
    assert model.outputs[0].shape == (None, 64, 64)


def test_decisions_stay_in_float32_under_mixed_precision() -> None:
    with build_policy("bfloat16"):
        mixed = build_segmenter(64, **SMALL)
    assert mixed.training.get_layer("down1_1_conv").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in mixed.training.variables} == {"float32"}
    assert mixed.training.outputs[0].dtype == "float32"
    plain = build_segmenter(64, **SMALL)
    plain.inference.set_weights(mixed.inference.get_weights())
    batch = images(1, 64)
    low, full = mixed.inference(batch, training=False), plain.inference(batch, training=False)
    assert np.abs(np.asarray(low) - np.asarray(full)).max() < 0.05
