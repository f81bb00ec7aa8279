from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from scanside.errors import BundleError, UsageError
from scanside_export.provenance import TrainingRecord, provenance, read_training

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.keras"
    path.write_bytes(b"weights")
    return path


def record(model: Path, task: str, content: bytes = b"weights") -> None:
    """A training record with more fields than the export looks at."""
    fields = {
        "schema": "scanside.training/1",
        "task": task,
        "dataset_sha256": ONE,
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "seconds": 3.5,
    }
    model.with_name("training.json").write_text(json.dumps(fields))


def trained(dataset: str) -> TrainingRecord:
    return TrainingRecord(task="classifier", dataset_sha256=dataset, model_sha256=ONE)


def test_a_record_beside_the_model_is_read(model: Path) -> None:
    assert read_training(model, "classifier") is None
    record(model, "classifier")
    found = read_training(model, "classifier")
    assert found is not None
    assert found.dataset_sha256 == ONE


def test_models_given_in_the_wrong_order_are_refused(model: Path) -> None:
    record(model, "segmenter")
    with pytest.raises(BundleError, match="is a segmenter"):
        read_training(model, "classifier")


def test_a_record_of_an_older_model_is_refused(model: Path) -> None:
    record(model, "classifier", b"other weights")
    with pytest.raises(BundleError, match="model_sha256 differs"):
        read_training(model, "classifier")


def test_the_record_of_the_other_model_in_the_folder_is_no_record(model: Path) -> None:
    record(model, "segmenter", b"other weights")
    assert read_training(model, "classifier") is None


@pytest.mark.parametrize(
    ("content", "what"), [('{"task": 3}', r"\$\.task"), ("{", "can't be read")]
)
def test_a_damaged_record_is_refused(model: Path, content: str, what: str) -> None:
    model.with_name("training.json").write_text(content)
    with pytest.raises(BundleError, match=what):
        read_training(model, "classifier")


def test_one_dataset_of_both_models_is_the_bundles() -> None:
    found = provenance("c", "LGG", {"classifier": trained(ONE), "segmenter": trained(ONE)})
    assert (found.dataset, found.dataset_sha256) == ("LGG", ONE)
    assert found.versions["numpy"]
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", found.commit)


def test_two_datasets_are_both_named() -> None:
    found = provenance("c", "LGG", {"classifier": trained(ONE), "segmenter": trained(OTHER)})
    assert found.dataset_sha256 is None
    assert ONE in found.dataset
    assert OTHER in found.dataset


def test_without_records_the_dataset_is_not_known() -> None:
    found = provenance("c", "unknown", {"classifier": None, "segmenter": None})
    assert (found.dataset, found.dataset_sha256) == ("unknown", None)


def test_the_date_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert provenance("c", "d", {}).created == "2023-11-14T22:13:20+00:00"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="yesterday"):
        provenance("c", "d", {})
