from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("tf2onnx", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")

import keras
from keras import layers

import toy
from scanside.errors import BackendError, BundleError
from scanside_export.check import find_violations
from scanside_export.convert import load_keras, to_onnx, weights_sha256
from scanside_export.parity import run_keras, session
from scanside_export.rewrites.editing import constants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from conftest import KerasModels

pytestmark = [
    pytest.mark.tf,
    # Keras reads its variables so while it saves a model.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

SLICES = np.stack([toy.lesion_slice(seed, lesion=bool(seed % 2)) for seed in range(3)])


def residual(image: Any) -> Any:
    """A residual network with everything that must fold: bias, strides, padding, groups."""
    x = layers.Rescaling(1 / 128, offset=-1.0)(image)
    x = layers.ZeroPadding2D(3)(x)
    x = layers.Conv2D(8, 7, strides=4, name="stem_conv")(x)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    y = layers.BatchNormalization()(y)
    x = layers.ReLU()(layers.Add()([layers.BatchNormalization()(layers.Conv2D(8, 1)(x)), y]))
    # Behind an Add there is no convolution to fold into: it stays Mul and Add.
    return layers.ReLU()(layers.BatchNormalization()(x))


def classifier() -> Any:
    image = keras.Input((256, 256, 3), dtype="uint8", name="image")
    x = layers.GlobalAveragePooling2D()(residual(image))
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(x))


def segmenter(
    enlarge: Callable[[Any], Any] | None = None, last: Callable[[Any], Any] | None = None
) -> Any:
    image = keras.Input((256, 256, 3), dtype="uint8", name="image")
    x = residual(image)
    x = enlarge(x) if enlarge else layers.UpSampling2D(8, interpolation="bilinear")(x)
    x = layers.Conv2D(1, 1, activation="sigmoid", name="head")(x)
    return keras.Model(image, last(x) if last else layers.Reshape((256, 256))(x))


@pytest.fixture
def small_classifier(keras_models: KerasModels) -> Any:
    return keras_models.randomise(classifier())


@pytest.fixture
def small_segmenter(keras_models: KerasModels) -> Any:
    return keras_models.randomise(segmenter())


def count(graph: onnx.ModelProto, op_type: str) -> int:
    return sum(node.op_type == op_type for node in graph.graph.node)


def test_the_classifier_computes_what_keras_computes(small_classifier: Any) -> None:
    before = weights_sha256(small_classifier)
    graph = to_onnx(small_classifier, "classifier", version="1.2.3")
    assert weights_sha256(small_classifier) == before
    found = session(graph.SerializeToString(), "classifier")(SLICES)
    assert found.shape == (3, 1)
    assert np.ptp(found) > 1e-4, "the outputs depend on the slice"
    np.testing.assert_allclose(found, run_keras(small_classifier, SLICES), atol=1e-5)
    assert (graph.producer_name, graph.producer_version) == ("scanside", "1.2.3")


def test_every_normalisation_behind_a_convolution_is_folded(small_classifier: Any) -> None:
    graph = to_onnx(small_classifier, "classifier")
    # Scaling, the normalisation behind the Add, the Add itself, the Dense layer's bias.
    assert (count(graph, "Conv"), count(graph, "Mul"), count(graph, "Add")) == (4, 2, 4)
    assert find_violations(graph, "classifier") == []
    names = [node.name for node in graph.graph.node]
    assert names[:6] == [
        "scale/Cast", "scale/Mul", "scale/Add", "scale/Transpose", "stem_conv/Conv",
        "stem_relu/Relu",
    ]  # fmt: skip
    assert not any(name.startswith(("functional", "model")) for name in names)


def test_the_segmenter_computes_what_keras_computes(small_segmenter: Any) -> None:
    graph = to_onnx(small_segmenter, "segmenter")
    found = session(graph.SerializeToString(), "segmenter")(SLICES)
    assert found.shape == (3, 256, 256)
    np.testing.assert_allclose(found, run_keras(small_segmenter, SLICES), atol=1e-5)
    assert graph.graph.node[-1].op_type == "Squeeze"
    (resize,) = (node for node in graph.graph.node if node.op_type == "Resize")
    modes = {entry.name: entry.s for entry in resize.attribute}
    assert modes["mode"] == b"linear"
    assert modes["coordinate_transformation_mode"] == b"half_pixel"
    assert constants(graph.graph)[resize.input[2]].tolist() == [1, 1, 8, 8]


def test_every_number_of_slices_gives_the_same_values(small_segmenter: Any) -> None:
    run = session(to_onnx(small_segmenter, "segmenter").SerializeToString(), "segmenter")
    together = run(SLICES)
    for at in range(3):
        np.testing.assert_allclose(run(SLICES[at : at + 1])[0], together[at], atol=1e-6)


def test_the_same_model_gives_the_same_bytes(small_classifier: Any, tmp_path: Path) -> None:
    small_classifier.save(tmp_path / "m.keras")
    first, second = (
        to_onnx(load_keras(tmp_path / "m.keras"), "classifier").SerializeToString()
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    "scaling",
    [
        lambda x: (keras.ops.cast(x, "float32") - 128.0) / 128.0,
        lambda x: keras.ops.cast(x, "float32") / 128.0 - 1.0,
    ],
)
def test_the_scaling_may_be_written_in_several_ways(scaling: Callable[[Any], Any]) -> None:
    image = keras.Input((256, 256, 3), dtype="uint8", name="image")
    x = layers.Conv2D(1, 1, activation="sigmoid")(scaling(image))
    model = keras.Model(image, layers.Reshape((256, 256))(x))
    graph = to_onnx(model, "segmenter")
    found = session(graph.SerializeToString(), "segmenter")(SLICES)
    np.testing.assert_allclose(found, run_keras(model, SLICES), atol=1e-6)


@pytest.mark.parametrize(
    ("enlarge", "said"),
    [
        pytest.param(
            lambda: layers.UpSampling2D(8, name="nearest"),
            "nearest/Tile (Tile): nearest UpSampling2D exports so",
            id="nearest",
        ),
        pytest.param(
            lambda: layers.Conv2DTranspose(4, 8, strides=8, name="deconvolution"),
            "deconvolution/ConvTranspose (ConvTranspose)",
            id="transposed convolution",
        ),
        pytest.param(
            lambda: keras.Sequential(
                [
                    layers.GroupNormalization(2, name="groups"),
                    layers.UpSampling2D(8, interpolation="bilinear"),
                ]
            ),
            "(Transpose): only the scaled input may have one",
            id="group normalisation",
        ),
    ],
)
def test_layers_that_do_not_export_cleanly_are_named(enlarge: Callable[[], Any], said: str) -> None:
    with pytest.raises(BundleError) as caught:
        to_onnx(segmenter(enlarge()), "segmenter")
    assert said in str(caught.value)


def test_models_of_another_shape_are_refused(small_segmenter: Any) -> None:
    with pytest.raises(BundleError, match=r"the classifier has the output .* \[None, 256, 256\]"):
        to_onnx(small_segmenter, "classifier")
    with pytest.raises(BundleError, match=r"\[None, 256, 256, 1\]"):
        to_onnx(segmenter(last=lambda x: x), "segmenter")
    image = keras.Input((256, 256, 3), name="image")
    plane = layers.Reshape((256, 256))(layers.Conv2D(1, 1)(image))
    with pytest.raises(BundleError, match="the input image float32"):
        to_onnx(keras.Model(image, plane), "segmenter")
    with pytest.raises(BundleError, match="2 outputs"):
        to_onnx(keras.Model(image, [plane, plane]), "segmenter")


def test_half_precision_layers_are_refused() -> None:
    image = keras.Input((256, 256, 3), dtype="uint8", name="image")
    x = layers.Conv2D(1, 1, dtype="mixed_float16", name="half")(image)
    x = layers.Reshape((256, 256), dtype="float32")(x)
    with pytest.raises(BundleError, match=r"half precision \(half\)"):
        to_onnx(keras.Model(image, x), "segmenter")


def test_a_file_that_keras_cannot_load_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"m\.keras: Keras .* can't load it"):
        load_keras(tmp_path / "m.keras")


def test_another_keras_backend_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(BackendError, match="Keras runs on jax"):
        load_keras(tmp_path / "m.keras")
