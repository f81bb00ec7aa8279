from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from scanside.errors import BundleError, UsageError
from scanside_export.figures import read_figures, read_figures_of_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.contract import Thresholds


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "c.keras", tmp_path / "s.keras"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@pytest.fixture
def document(models: list[Path]) -> dict[str, Any]:
    """What an evaluation writes, its tables and curves cut short."""
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in models}
    figure = {"value": 0.9, "low": 0.8, "high": None, "undefined": 0.1}
    return {
        "schema": "scanside.metrics/1",
        "notes": ["Read this."],
        "models": {"name": "c, s", "sha256": hashes, "backend": "keras", "precision": "fp32"},
        "subject": {"dataset_sha256": "1" * 64, "part": "test", "patients": 12},
        "thresholds": {"gate": 0.3, "decision": 0.9, "mask": 0.5, "chosen": "otherwise"},
        "bootstrap": {"unit": "patient"},
        "figures": {"classifier.auc": figure, "by_size.small.found": figure},
        "calibration": [{"low": 0.0}],
        "patients": [{"patient": "a"}],
        "versions": {"numpy": "2"},
    }


def read(
    document: object, tmp_path: Path, thresholds: Thresholds, models: list[Path]
) -> dict[str, Any]:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(document))
    return read_figures(path, thresholds, models)


def test_the_figures_are_quoted_with_their_split(
    document: dict[str, Any], tmp_path: Path, thresholds: Thresholds, models: list[Path]
) -> None:
    found = read(document, tmp_path, thresholds, models)
    assert found["figures"] == {"classifier.auc": {"value": 0.9, "low": 0.8, "high": None}}
    assert found["subject"] == document["subject"]
    assert found["notes"] == ["Read this."]
    assert set(found) == {"subject", "models", "bootstrap", "notes", "figures", "robustness"}


@pytest.mark.parametrize("name", ["gate", "decision", "mask"])
def test_figures_at_other_thresholds_are_refused(
    document: dict[str, Any], tmp_path: Path, thresholds: Thresholds, models: list[Path], name: str
) -> None:
    document["thresholds"][name] = 0.95 if name == "decision" else 0.25
    with pytest.raises(BundleError, match=f"measured at {name}"):
        read(document, tmp_path, thresholds, models)


def test_figures_of_other_models_are_refused(
    document: dict[str, Any], tmp_path: Path, thresholds: Thresholds, models: list[Path]
) -> None:
    models[1].write_bytes(b"trained further")
    with pytest.raises(BundleError, match="on other models"):
        read(document, tmp_path, thresholds, models)


def test_figures_of_a_bundle_are_taken_with_its_hash(
    document: dict[str, Any], tmp_path: Path, thresholds: Thresholds, models: list[Path]
) -> None:
    document["models"]["sha256"] = {"manifest.json": "2" * 64}
    found = read(document, tmp_path, thresholds, models)
    assert found["models"]["sha256"] == {"manifest.json": "2" * 64}


@pytest.mark.parametrize(
    ("document_", "said"),
    [([1], r"\$: "), ({"schema": "scanside.metrics/2"}, r"\$\.schema"), ({}, "missing required")],
)
def test_another_document_is_refused(
    tmp_path: Path, thresholds: Thresholds, models: list[Path], document_: object, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read(document_, tmp_path, thresholds, models)
    assert "scanside evaluate" in caught.value.accepted


def test_figures_of_another_bundle_are_refused(
    document: dict[str, Any], tmp_path: Path, thresholds: Thresholds
) -> None:
    path = tmp_path / "metrics.json"
    document["models"]["sha256"] = {"manifest.json": "a" * 64}
    document["robustness"] = {"rotated": {"classifier.auc": {"value": 0.8, "low": 0.7, "high": 1}}}
    path.write_text(json.dumps(document))
    found = read_figures_of_bundle(path, thresholds, "a" * 64)
    assert found["robustness"]["rotated"]["classifier.auc"]["low"] == 0.7
    with pytest.raises(BundleError, match="this very bundle"):
        read_figures_of_bundle(path, thresholds, "b" * 64)
