from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scanside import open_bundle
from scanside.bundle import MANIFEST
from scanside_export.card import sections

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


@pytest.fixture
def metrics(toy_path: Path, tmp_path: Path) -> Path:
    bundle = open_bundle(toy_path)
    thresholds = bundle.manifest.thresholds
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    document = {
        "schema": "scanside.metrics/1",
        "notes": ["Read this."],
        "models": {
            "name": "toy", "precision": "fp32", "sha256": {MANIFEST: bundle.manifest_sha256},
        },
        "subject": {"part": "validation", "patients": 12},
        "thresholds": {
            "gate": thresholds.gate, "decision": thresholds.decision, "mask": thresholds.mask,
            "chosen": thresholds.chosen,
        },
        "bootstrap": {"unit": "patient"},
        "figures": {"classifier.auc": figure},
        "robustness": {"rotated": {"classifier.auc": {**figure, "value": 0.85}}},
    }  # fmt: skip
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(document))
    return path


def test_the_figures_and_the_notes_are_in_the_bundle(
    scanside: Command, toy_path: Path, metrics: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("## Failures\n\nA dark cavity is left out.\n")
    out = tmp_path / "out"
    done = scanside(
        "annotate", toy_path, "--metrics", metrics, "--notes", notes, "--name", "annotated",
        "--output", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    before, after = open_bundle(toy_path), open_bundle(out)
    assert after.manifest.models == before.manifest.models
    assert after.manifest.name == "annotated"
    assert after.manifest.metrics["figures"]["classifier.auc"]["value"] == 0.9
    card = after.read("$.card").decode()
    assert "| classifier.auc | 0.9 | 0.8 | 0.95 |" in card
    assert "| rotated | 0.85 |" in card
    assert "A dark cavity is left out." in card


def test_figures_of_another_bundle_are_refused(
    scanside: Command, toy_path: Path, metrics: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    assert scanside("annotate", toy_path, "--metrics", metrics, "--output", first).code == 0
    again = scanside("annotate", first, "--metrics", metrics, "--output", tmp_path / "second")
    assert again.code == 4
    assert "this very bundle" in again.err
    assert not (tmp_path / "second").exists()


def test_what_is_there_is_not_replaced(
    scanside: Command, toy_path: Path, metrics: Path, tmp_path: Path
) -> None:
    done = scanside("annotate", toy_path, "--metrics", metrics, "--output", tmp_path)
    assert done.code == 9
    assert "exists already" in done.err


def test_what_the_calibration_wrote_stays() -> None:
    card = "# A\n\n## INT8\n\nmethod mse\n\n### more\n\n## Licence\n\nfree\n"
    assert sections(card, ("INT8", "FP16")) == "## INT8\n\nmethod mse\n\n### more"
    assert sections("# A\n", ("INT8",)) == ""
