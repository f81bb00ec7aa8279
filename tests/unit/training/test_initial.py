"""Starting from the weights of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the extra train")

import keras

from scanside.errors import InputError
from scanside_training.initial import load_initial
from scanside_training.models.resnet50 import build_classifier
from scanside_training.models.resunet import build_segmenter

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.tf,
    # Keras 3.15 on NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def save_as_applications_does(model: Any, path: Path) -> None:
    """Write weights in the layout of the files of ``keras.applications``."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{item.name}:0" for item in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """ResNet-50 of keras.applications with random weights, and its file."""
    model = keras.applications.ResNet50(include_top=False, weights=None)
    path = tmp_path_factory.mktemp("imagenet") / "resnet50_notop.h5"
    save_as_applications_does(model, path)
    return model, path


def test_imagenet_weights_compute_the_same_features(imagenet: tuple[Any, Path]) -> None:
    reference, path = imagenet
    model = build_classifier(64, bias=True).training
    load_initial(model, path)
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    blue_first = keras.applications.resnet50.preprocess_input(image.astype(np.float32))
    outputs = [
        np.asarray(keras.Model(each.input, each.get_layer("conv1_conv").output)(value))
        for each, value in ((reference, blue_first), (model, image))
    ]
    # The padding stands for another grey level: the outermost values differ.
    inner = [output[:, 2:-2, 2:-2] for output in outputs]
    assert np.abs(inner[0] - inner[1]).max() < 1e-3 * np.abs(inner[0]).max()
    same = model.get_layer("conv5_block3_3_conv").get_weights()
    expected = reference.get_layer("conv5_block3_3_conv").get_weights()
    assert all(np.array_equal(*pair) for pair in zip(same, expected, strict=True))


def test_imagenet_weights_need_the_full_architecture(imagenet: tuple[Any, Path]) -> None:
    with pytest.raises(InputError, match=r"model\.bias = true"):
        load_initial(build_classifier(64, width=0.125).training, imagenet[1])


def test_a_former_model_goes_on(tmp_path: Path) -> None:
    former = build_segmenter(256, filters=(8, 8)).inference
    former.save(tmp_path / "segmenter.keras")
    model = build_segmenter(None, filters=(8, 8)).training
    load_initial(model, tmp_path / "segmenter.keras")
    for one, other in zip(model.get_weights(), former.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_model_of_another_architecture_is_refused(tmp_path: Path) -> None:
    build_segmenter(256, filters=(8, 16)).inference.save(tmp_path / "segmenter.keras")
    with pytest.raises(InputError, match=r"down1.* 16\).* 8\)"):
        load_initial(build_segmenter(None, filters=(8, 8)).training, tmp_path / "segmenter.keras")


@pytest.mark.parametrize("name", ["weights.npz", "broken.h5", "broken.keras"])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=name):
        load_initial(build_segmenter(None, filters=(8, 8)).training, path)
