from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import toy
from scanside import open_bundle
from scanside.contract import Provenance, Thresholds
from scanside.errors import OutputError, ParityError
from scanside.evidence import Parity
from scanside.publish import publish
from scanside_export.assemble import (
    Description,
    Exported,
    WeightsLicense,
    assemble,
)
from scanside_export.card import model_card

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.contract import Manifest, Role

PARITY = Parity(
    reference="keras 3", slices=32, data="phantoms", max_abs_error=1e-6, same_decision=1.0
)
SOURCE = Provenance(
    command="scanside export a.keras b.keras", commit="unknown",
    created="2026-01-01T00:00:00+00:00", dataset="LGG", dataset_sha256=None,
    versions={"keras": "3"},
)  # fmt: skip


def described(card: bytes | None = None, metrics: dict[str, object] | None = None) -> Description:
    return Description(
        name="toy",
        version="7",
        description="Toy models.",
        thresholds=Thresholds(
            gate=toy.GATE, decision=toy.DECISION, mask=toy.MASK, chosen="by hand"
        ),
        license=WeightsLicense("CC BY-NC-SA 4.0", "Not for commercial use.", b"the licence\n"),
        metrics=metrics or {},
        card=card,
    )


def parts(
    said: Description | None = None, golden: bytes | None = None
) -> tuple[Manifest, dict[str, bytes]]:
    said = said or described()
    contents = (toy.classifier().SerializeToString(), toy.segmenter().SerializeToString())
    models: dict[Role, Exported] = {
        "classifier": Exported(contents[0], PARITY),
        "segmenter": Exported(contents[1], PARITY),
    }
    return assemble(models, golden or toy.golden(contents, said.thresholds), said, SOURCE)


def test_a_bundle_is_written_and_verified(tmp_path: Path) -> None:
    bundle = publish(tmp_path / "b", *parts())
    assert bundle.label == "toy 7"
    assert bundle.manifest.precisions == ("fp32",)
    assert sorted(path.name for path in bundle.path.iterdir()) == [
        "LICENSE-WEIGHTS.txt", "MODEL_CARD.md", "classifier.fp32.onnx", "golden.npz",
        "manifest.json", "segmenter.fp32.onnx",
    ]  # fmt: skip
    assert open_bundle(bundle.path) == bundle


def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (publish(tmp_path / f"{n}.zip", *parts()) for n in "ab")
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize("name", ["b", "b.zip"])
def test_a_bundle_that_fails_its_goldens_leaves_nothing(tmp_path: Path, name: str) -> None:
    swapped = (toy.classifier(), toy.classifier())
    held = described().thresholds
    wrong = toy.golden((swapped[0].SerializeToString(), toy.segmenter().SerializeToString()), held)
    manifest, files = parts(golden=wrong)
    model = toy.classifier()
    for tensor in model.graph.initializer:
        if tensor.name == "offset":
            tensor.raw_data = b"\x00\x00\x00\x40"
    files["classifier.fp32.onnx"] = model.SerializeToString()
    broken, _ = assemble(
        {
            "classifier": Exported(files["classifier.fp32.onnx"], PARITY),
            "segmenter": Exported(files["segmenter.fp32.onnx"], PARITY),
        },
        wrong,
        described(),
        SOURCE,
    )
    with pytest.raises(ParityError, match="tumor_probability"):
        publish(tmp_path / name, broken, files)
    assert list(tmp_path.iterdir()) == []
    assert manifest.name == "toy"


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        publish(tmp_path / "b", *parts())


def test_a_given_card_is_kept_and_a_missing_one_written() -> None:
    manifest, files = parts(described(card=b"# mine\n"))
    assert files["MODEL_CARD.md"] == b"# mine\n"
    manifest, files = parts()
    assert files["MODEL_CARD.md"].decode() == model_card(manifest)
    assert manifest.card.size == len(files["MODEL_CARD.md"])


def test_the_card_says_what_is_known_and_what_is_not() -> None:
    card = model_card(parts()[0])
    for part in (
        "# toy 7", "Not a medical device", "gate 0.3", "by hand", "dataset: LGG", "not known",
        "Not measured", "keras 3", "CC BY-NC-SA 4.0: Not for commercial use.",
        "scanside export a.keras b.keras",
    ):  # fmt: skip
        assert part in card, part
    assert card.count("medical device") == 1
    figures = {
        "classifier.auc": {"value": 0.96789, "low": 0.9, "high": None},
    }
    metrics = {
        "subject": {"part": "test", "patients": 12},
        "bootstrap": {"unit": "patient", "resamples": 1000},
        "figures": figures,
        "notes": ["Mind the size."],
    }
    measured = model_card(parts(described(metrics=metrics))[0])
    for part in (
        "Measured on part test, patients 12; intervals: unit patient, resamples 1000.",
        "| classifier.auc | 0.9679 | 0.9 | not defined |",
        "Mind the size.",
    ):
        assert part in measured, part
    assert "Not measured:" not in measured
