"""The whole way: two .keras files to a bundle, through the command line."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("tf2onnx", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")

import toy
from scanside import open_bundle
from scanside.golden import read_golden
from scanside.pipeline import Pipeline
from scanside.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done
    from conftest import KerasModels

    Scanside = Callable[..., Done]

pytestmark = [
    pytest.mark.tf,
    # Keras reads its variables so while it saves a model.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]


@pytest.fixture
def inputs(keras_models: KerasModels, tmp_path: Path) -> Path:
    """Both models with their training records, thresholds, metrics and a licence."""
    for role, model in (
        ("classifier", keras_models.classifier()), ("segmenter", keras_models.segmenter()),
    ):  # fmt: skip
        folder = tmp_path / role
        folder.mkdir()
        model.save(folder / f"{role}.keras")
        digest = hashlib.sha256((folder / f"{role}.keras").read_bytes()).hexdigest()
        record = {"task": role, "dataset_sha256": "3" * 64, "model_sha256": digest}
        (folder / "training.json").write_text(json.dumps(record))
    thresholds = {
        "gate": toy.GATE, "decision": toy.DECISION, "mask": toy.MASK, "chosen": "by hand",
    }  # fmt: skip
    (tmp_path / "thresholds.json").write_text(json.dumps(thresholds))
    metrics = {
        "schema": "scanside.metrics/1", "notes": [], "subject": {"part": "test"}, "bootstrap": {},
        "models": {"name": "toy 0", "sha256": {"manifest.json": "4" * 64}, "precision": "fp32"},
        "thresholds": thresholds, "figures": {"classifier.auc": {"value": 0.97}},
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "licence.txt").write_text("the licence\n")
    return tmp_path


def words(inputs: Path, dataset: Path, output: str) -> list[object]:
    return [
        "export", inputs / "classifier" / "classifier.keras",
        inputs / "segmenter" / "segmenter.keras",
        "--output", inputs / output, "--golden", dataset,
        "--thresholds", inputs / "thresholds.json", "--metrics", inputs / "metrics.json",
        "--license-name", "CC0", "--license-file", inputs / "licence.txt",
        "--license-notice", "Free.", "--dataset", "toy patients",
    ]  # fmt: skip


def test_two_models_become_a_bundle_that_runs(
    scanside: Scanside, inputs: Path, toy_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    done = scanside(*words(inputs, toy_dataset, "toy-bundle"))
    assert done.code == 0, done.err
    bundle = open_bundle(inputs / "toy-bundle")
    manifest = bundle.manifest
    assert bundle.manifest_sha256 in done.out
    assert bundle.label == "toy-bundle 1"
    assert manifest.provenance.dataset_sha256 == "3" * 64
    assert manifest.provenance.created == "2023-11-14T22:13:20+00:00"
    assert manifest.provenance.command.startswith(
        "scanside export classifier.keras segmenter.keras --output toy-bundle --golden"
    )
    assert str(inputs) not in manifest.provenance.command, "paths of this machine do not ship"
    assert manifest.metrics["subject"] == {"part": "test"}
    assert manifest.metrics["figures"]["classifier.auc"]["value"] == 0.97
    for files in manifest.models.values():
        assert files["fp32"].parity.slices == 32
        assert files["fp32"].parity.max_abs_error < 1e-5
        assert files["fp32"].parity.same_decision == 1.0
    golden = read_golden(bundle)
    assert set(golden.route) == {"skip", "segment"}
    assert len(golden.images) == 6
    with Pipeline.open(bundle, backend="cpu") as pipeline:
        assert all(check.passed for check in verify(bundle, pipeline))
        result = pipeline.analyse(toy.lesion_slice(99))
    assert result.tumor
    assert result.region is not None
    assert 1000 < result.region.area < 2500, "a disc of radius 22"

    again = scanside(*words(inputs, toy_dataset, "again.zip"), "--name", "toy-bundle")
    assert again.code == 0, again.err
    second = open_bundle(inputs / "again.zip").manifest
    assert second.models == manifest.models, "the same models give the same files"
    assert second.golden == manifest.golden


def test_models_in_the_wrong_order_are_refused(
    scanside: Scanside, inputs: Path, toy_dataset: Path
) -> None:
    call = words(inputs, toy_dataset, "out")
    call[1], call[2] = call[2], call[1]
    done = scanside(*call)
    assert done.code == 4
    assert "the classifier first" in done.err
    assert not (inputs / "out").exists()


def test_goldens_on_one_side_of_the_gate_are_refused(
    scanside: Scanside, inputs: Path, toy_dataset: Path
) -> None:
    thresholds = {"gate": 0.0, "decision": 0.9, "mask": 0.5, "chosen": "everything passes"}
    (inputs / "thresholds.json").write_text(json.dumps(thresholds))
    call = words(inputs, toy_dataset, "out")
    at = call.index("--metrics")
    done = scanside(*call[:at], *call[at + 2 :])
    assert done.code == 3
    assert "golden slices" in done.err
    assert not (inputs / "out").exists()


def test_goldens_are_phantoms_and_not_the_compared_slices(
    scanside: Scanside, inputs: Path, toy_dataset: Path, data_root: Path
) -> None:
    done = scanside(*words(inputs, toy_dataset, "out"), "--data", _few(data_root, inputs))
    assert done.code == 0, done.err
    bundle = open_bundle(inputs / "out")
    assert bundle.manifest.models["classifier"]["fp32"].parity.data.startswith("some")
    images = read_golden(bundle).images
    phantoms = {toy.lesion_slice(s, lesion=s % 2 == 0).tobytes() for s in range(32)}
    assert {np.ascontiguousarray(image).tobytes() for image in images} <= phantoms


def _few(data_root: Path, folder: Path) -> Path:
    """One real patient, by link."""
    some = folder / "some"
    some.mkdir()
    patient = sorted(path for path in (data_root / "lgg").iterdir() if path.is_dir())[0]
    (some / patient.name).symlink_to(patient)
    return some
