"""Two Keras files measured before anything is exported."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from scanside.errors import BackendError, InputError
from scanside_training.keras_backend import KerasBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

pytestmark = [
    pytest.mark.tf,
    # TensorFlow's tensors have not followed NumPy 2 yet; Keras converts them when it saves.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return models that call bright FLAIR a tumour: max of it, and it itself."""
    import keras
    from keras import layers

    folder = tmp_path_factory.mktemp("models")
    paths = folder / "classifier.keras", folder / "segmenter.keras"
    for path in paths:
        image = keras.Input((256, 256, 3), dtype="uint8", name="image")
        scaled = layers.Rescaling(1 / 255, dtype="float32")(image)
        flair = layers.Conv2D(1, 1, use_bias=False, name="flair")(scaled)
        whole = path.stem == "classifier"
        output = layers.GlobalMaxPooling2D()(flair) if whole else layers.Reshape((256, 256))(flair)
        model = keras.Model(image, output)
        model.get_layer("flair").set_weights([np.float32([0, 1, 0]).reshape(1, 1, 3, 1)])
        model.save(path)
    return paths


def test_outputs_are_those_of_the_contract(models: tuple[Path, Path]) -> None:
    backend = KerasBackend(*models)
    images = np.zeros((3, 256, 256, 3), np.uint8)
    images[1, 40, 50] = (0, 204, 255)
    probability, plane = backend.classify(images), backend.segment(images)
    assert probability.shape == (3, 1)
    assert probability.dtype == plane.dtype == np.float32
    assert probability[:, 0] == pytest.approx([0, 0.8, 0])
    assert plane.shape == (3, 256, 256)
    assert plane[1, 40, 50] == pytest.approx(0.8)
    assert set(backend.describe()) == {"keras", "tensorflow"}
    with pytest.raises(BackendError, match="Keras failed"):
        backend.classify(np.zeros((1, 5, 3), np.uint8))


def test_files_that_are_no_models_are_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        KerasBackend(tmp_path / "no.keras", models[1])
    (tmp_path / "odd.keras").write_bytes(b"no zip")
    with pytest.raises(InputError, match="can't load it"):
        KerasBackend(models[0], tmp_path / "odd.keras")


def test_the_command_measures_them(
    models: tuple[Path, Path],
    scanside: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scanside_training.report_plots.plots", lambda *_: {})
    for patient in ("A", "B"):
        place = tmp_path / "set" / patient
        place.mkdir(parents=True)
        random = np.random.default_rng(ord(patient))
        for number in (1, 2):
            image = random.integers(0, 100, (256, 256, 3), dtype=np.uint8)
            if number == 2:
                image[60:80, 60:80] = 200
                mask = np.zeros((256, 256), np.uint8)
                mask[60:80, 60:80] = 1
                cv2.imwrite(str(place / f"{patient}_2_mask.png"), mask)
            cv2.imwrite(str(place / f"{patient}_{number}.png"), image)
    output = tmp_path / "report"
    words = ("--data", tmp_path / "set", "--output", output, "--gate", 0.7, "--resamples", 5)
    done = scanside("evaluate", *models, *words)
    assert done.code == 0, done.err
    metrics = json.loads((output / "metrics.json").read_bytes())
    assert metrics["models"]["backend"] == "keras"
    assert metrics["models"]["sha256"]["classifier.keras"] == (
        hashlib.sha256(models[0].read_bytes()).hexdigest()
    )
    assert metrics["thresholds"]["gate"] == metrics["thresholds"]["decision"] == 0.7
    assert metrics["figures"]["pipeline.volume_dice"]["value"] == 1.0
    assert metrics["figures"]["pipeline.skipped"]["value"] == 0.5
