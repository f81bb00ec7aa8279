"""`scanside evaluate` as its users call it, on models whose outputs can be foreseen."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from scanside.evaluation.dataset import index_dataset
from scanside.evaluation.splits import Split, write_split
from scanside_training.document import ROBUST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


FEW = ("--resamples", 20)


def _write(folder: Path, number: int, *, bright: bool, true: slice | None) -> None:
    """Write a slice; where it is bright, the toy models find rows 80 to 119, columns 80 to 119."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([ord(folder.name), number])
    image = np.full((256, 256, 3), (110, 100, 90), np.uint8)  # OpenCV's order
    image += random.integers(0, 3, image.shape, dtype=np.uint8)
    if bright:
        image[80:120, 80:120] = (150, 210, 70)
    stem = folder / f"{folder.name}_{number}"
    cv2.imwrite(f"{stem}.png", image)
    if true is not None:
        mask = np.zeros((256, 256), np.uint8)
        mask[80:120, true] = 255
        cv2.imwrite(f"{stem}_mask.png", mask)


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots out where the test is about something else: they take the longest."""
    monkeypatch.setattr("scanside_training.report_plots.plots", lambda *_: {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return three patients whose every figure can be told by hand."""
    right, half = slice(80, 120), slice(80, 100)
    cases = {
        "A": [(True, right), (False, None), (False, None)],
        "B": [(True, half), (True, None), (False, None)],
        "C": [(True, right), (False, half), (False, None)],
    }
    for patient, slices in cases.items():
        for number, (bright, true) in enumerate(slices, 1):
            _write(tmp_path / "set" / patient, number, bright=bright, true=true)
    return tmp_path / "set"


def test_every_figure_by_hand(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    done = scanside("evaluate", toy_path, "--data", folder, "--output", output, *FEW)
    assert done.code == 0, done.err
    metrics = json.loads((output / "metrics.json").read_bytes())
    value = {name: figure["value"] for name, figure in metrics["figures"].items()}
    assert metrics["schema"] == "scanside.metrics/1"
    assert metrics["subject"]["dataset_sha256"] == index_dataset(folder).sha256
    assert metrics["subject"]["part"] == "all"
    assert metrics["models"]["name"] == "toy 1"
    # Bright slices: two right, one half right, one false alarm; one lesion is not bright.
    assert value["classifier.at_gate.recall"] == pytest.approx(3 / 4)
    assert value["classifier.at_gate.precision"] == pytest.approx(3 / 4)
    assert value["classifier.at_half.accuracy"] == pytest.approx(7 / 9)
    assert value["pipeline.skipped"] == pytest.approx(5 / 9)
    assert value["pipeline.specificity"] == pytest.approx(4 / 5)
    half = 2 * 800 / (1600 + 800)
    assert value["segmenter.slice_dice"] == pytest.approx((1 + half + 1 + 0) / 4)
    assert value["segmenter.slice_hd95_mean_px"] == pytest.approx(20 / 3)
    volumes = [1, 2 * 800 / (3200 + 800), 2 * 1600 / (1600 + 2400)]
    assert value["pipeline.volume_dice"] == pytest.approx(np.mean(volumes))
    assert value["segmenter.volume_dice"] == pytest.approx(np.mean([1, half, volumes[2]]))
    rows = {row["patient"]: row["volume_dice"] for row in metrics["patients"]}
    assert list(rows.values()) == pytest.approx(volumes)
    assert "volume Dice, after gating:" in done.out
    assert f"{np.mean(volumes):.3f}" in done.out
    page = (output / "report.html").read_text()
    assert page.count("Not a medical device; research use only.") == 1
    assert "Toy weights." in page
    assert "the models were trained on" in page


@pytest.mark.usefixtures("no_plots")
def test_a_part_of_a_split(scanside: Command, toy_path: Path, folder: Path, tmp_path: Path) -> None:
    split = Split(
        dataset_sha256=index_dataset(folder).sha256,
        seed=5,
        train=("B",),
        validation=("C",),
        test=("A",),
    )
    write_split(tmp_path / "split.json", split)
    words = ("evaluate", toy_path, "--data", folder, "--split", tmp_path / "split.json", *FEW)
    seen = {}
    for part, patient in (("test", "A"), ("validation", "C"), ("train", "B")):
        output = tmp_path / part
        chosen = () if part == "test" else ("--part", part)
        assert scanside(*words, *chosen, "--output", output).code == 0
        metrics = json.loads((output / "metrics.json").read_bytes())
        assert metrics["subject"]["part"] == part
        assert metrics["subject"]["split_seed"] == 5
        assert [row["patient"] for row in metrics["patients"]] == [patient]
        # One patient has no interval.
        assert metrics["figures"]["pipeline.volume_dice"]["low"] is None
        seen[part] = metrics["notes"]
    assert len({str(notes) for notes in seen.values()}) == 3


@pytest.mark.usefixtures("no_plots")
def test_thresholds_of_the_command_line(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    words = ("evaluate", toy_path, "--data", folder, "--output", tmp_path / "report", *FEW)
    done = scanside(*words, "--gate", 0, "--decision", 1)
    assert done.code == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_bytes())
    assert metrics["figures"]["pipeline.skipped"]["value"] == 0
    assert metrics["thresholds"]["chosen"] == "on the command line"
    assert metrics["thresholds"]["mask"] == 0.5
    refused = scanside(*words, "--overwrite", "--gate", 0.95)
    assert refused.code == 2
    assert "decision >= gate" in refused.err


@pytest.mark.usefixtures("no_plots")
def test_nothing_is_overwritten_unasked(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    output.mkdir()
    (output / "metrics.json").write_text("mine")
    words = ("evaluate", toy_path, "--data", folder, "--output", output, *FEW)
    assert scanside(*words).code == 9
    assert (output / "metrics.json").read_text() == "mine"
    assert scanside(*words, "--overwrite").code == 0
    assert (output / "metrics.json").read_text() != "mine"


def test_bad_words_are_refused_before_any_work(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    common = ("--data", folder, "--output", output)
    for models in (("a.keras",), (toy_path, toy_path), ("a.keras", toy_path)):
        done = scanside("evaluate", *models, *common)
        assert done.code == 2
        assert "CLASSIFIER.keras SEGMENTER.keras" in done.err
    keras = ("evaluate", "a.keras", "b.keras", *common)
    assert scanside(*keras, "--backend", "cpu").code == 2
    assert scanside("evaluate", toy_path, *common, "--part", "test").code == 2
    done = scanside("evaluate", toy_path, *common, "--indeterminate", 0.01)
    assert done.code == 2
    assert "--indeterminate needs --sensitivity" in done.err
    assert not output.exists() or not any(output.iterdir())


def test_what_is_not_there_is_named(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    words = ("--output", tmp_path / "report")
    assert scanside("evaluate", tmp_path / "no", "--data", folder, *words).code == 4
    assert scanside("evaluate", toy_path, "--data", tmp_path / "no", *words).code == 3
    missing = scanside("evaluate", toy_path, "--data", folder, *words, "--precision", "int8")
    assert missing.code == 4
    empty = Split(
        dataset_sha256=index_dataset(folder).sha256,
        seed=0,
        train=("A",),
        validation=("B", "C"),
        test=(),
    )
    write_split(tmp_path / "split.json", empty)
    done = scanside(
        "evaluate", toy_path, "--data", folder, *words, "--split", tmp_path / "split.json"
    )
    assert done.code == 3
    assert "the test part" in done.err


def test_without_matplotlib_nothing_is_begun(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = scanside("evaluate", toy_path, "--data", folder, "--output", tmp_path / "report")
    assert done.code == 8
    assert "pip install 'scanside[report]'" in done.err
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("no_plots")
def test_changed_slices_are_measured_on_request(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    done = scanside(
        "evaluate", toy_path, "--data", folder, "--output", output, "--robustness", *FEW
    )
    assert done.code == 0, done.err
    metrics = json.loads((output / "metrics.json").read_bytes())
    robustness = metrics["robustness"]
    assert len(robustness) == 7
    assert all(set(figures) == set(ROBUST) for figures in robustness.values())
    as_it_is = {name: metrics["figures"][name] for name in ROBUST}
    assert any(figures != as_it_is for figures in robustness.values())
    turned = robustness["rotated by 10 degrees"]["segmenter.volume_dice"]["value"]
    assert turned == pytest.approx(metrics["figures"]["segmenter.volume_dice"]["value"], abs=0.05)
    page = (output / "report.html").read_text()
    assert all(name in page for name in robustness)


def test_a_page_without_slices_can_be_published(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    done = scanside("evaluate", toy_path, "--data", folder, "--output", output, "--markdown", *FEW)
    assert done.code == 0, done.err
    page = (output / "report.md").read_text()
    figures = json.loads((output / "metrics.json").read_bytes())["figures"]
    assert f"| AUC | {figures['classifier.auc']['value']:.3f} |" in page
    linked = re.findall(r"\((plots/[a-z0-9-]+\.png)\)", page)
    assert sorted(linked) == sorted(f"plots/{path.name}" for path in (output / "plots").iterdir())
    assert len(linked) == 6
