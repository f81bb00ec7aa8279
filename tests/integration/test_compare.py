"""`scanside compare` as its users call it."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import toy
from scanside.bundle import write_bundle
from scanside.comparison.records import ComparisonResult, SlicePair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


SHIFT = {"classifier": 7.5, "segmenter": 2.0}
"""Of the logits: lesions fall below the gate, and outlines shrink."""


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy bundle with both models less sure, and another gate."""
    manifest, files = toy.parts()
    models = {}
    for role, held in manifest.models.items():
        entry = held["fp32"]
        model = onnx.load_from_string(files[entry.file])
        for tensor in model.graph.initializer:
            if tensor.name == "offset":
                lower = numpy_helper.to_array(tensor) - np.float32(SHIFT[role])
                tensor.CopyFrom(numpy_helper.from_array(lower, "offset"))
        content = files[entry.file] = model.SerializeToString()
        digest = hashlib.sha256(content).hexdigest()
        models[role] = {"fp32": msgspec.structs.replace(entry, sha256=digest, size=len(content))}
    held_thresholds = msgspec.structs.replace(manifest.thresholds, gate=0.35)
    path = tmp_path_factory.mktemp("weak") / "bundle"
    write_bundle(
        path,
        msgspec.structs.replace(manifest, name="weak", models=models, thresholds=held_thresholds),
        files,
    )
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients of four slices; every second one has a lesion, and a mask."""
    root = tmp_path_factory.mktemp("data") / "set"
    for patient in range(3):
        folder = root / f"P{patient}"
        folder.mkdir(parents=True)
        for n in range(4):
            image = toy.lesion_slice(10 * patient + n, lesion=bool(n % 2))
            cv2.imwrite(str(folder / f"P{patient}_{n}.png"), image[..., ::-1])
            if n % 2:
                mask = np.where(image[..., 1].astype(int) - image[..., 0] > 70, 255, 0)
                cv2.imwrite(str(folder / f"P{patient}_{n}_mask.png"), mask.astype(np.uint8))
    return root


def records(output: Path) -> tuple[list[SlicePair], ComparisonResult]:
    lines = (output / "results.jsonl").read_bytes().splitlines()
    decoder = msgspec.json.Decoder(SlicePair | ComparisonResult)
    *slices, last = (decoder.decode(line) for line in lines)
    assert isinstance(last, ComparisonResult)
    return [each for each in slices if isinstance(each, SlicePair)], last


def test_a_bundle_and_itself_do_not_differ(
    scanside: Command, toy_path: Path, dataset: Path, tmp_path: Path
) -> None:
    done = scanside(
        "compare", f"{toy_path}@cpu", f"{toy_path}:fp32@cpu", "--data", dataset,
        "--output", tmp_path / "o",
        "--max-probability-difference", 0, "--min-dice", 1, "--max-flips", 0,
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["schema"] == "scanside.comparison/1"
    assert found["thresholds_differ"] is False
    assert found["tumor_probability"] == {"slices": 12, "mean": 0, "p99": 0, "largest": 0}
    assert found["mask_dice"]["slices"] >= 6
    assert found["mask_dice"]["worst"] == 1
    assert found["worst_mask_dice"] == found["worst_probability"] == []
    assert found["labels"]["patients"] == 3
    for figure in found["labels"]["figures"].values():
        assert set(figure["difference"].values()) == {0.0}
    assert [limit["passed"] for limit in found["limits"]] == [True] * 3
    assert not (tmp_path / "o" / "overlays").exists()


def test_two_bundles_differ_and_the_records_say_where(
    scanside: Command, toy_path: Path, weak: Path, dataset: Path, tmp_path: Path
) -> None:
    done = scanside(
        "compare", f"{toy_path}@cpu", f"{weak}@cpu", "--data", dataset,
        "--output", tmp_path / "o", "--format", "text", "--worst", 2,
    )  # fmt: skip
    assert done.code == 0, done.err
    for words in ("THE THRESHOLDS DIFFER", "gate 0.35", "12 labelled slices", "B - A", "AUC"):
        assert words in done.out
    slices, result = records(tmp_path / "o")
    assert len(slices) == result.data.compared == 12
    differences = [abs(each.probability_difference or 0) for each in slices]
    assert result.tumor_probability.largest == max(differences) > 0.1
    assert len(result.gate_flips) == sum(each.gate_flip for each in slices) == 6
    assert {(flip.a, flip.b) for flip in result.gate_flips} == {("segmented", "skipped")}
    assert "gate flips" in done.out
    assert "A 0.99" in done.out
    assert result.mask_dice.worst is not None
    assert result.mask_dice.worst < 1
    assert len(result.worst_mask_dice) == len(result.worst_probability) == 2
    page = (tmp_path / "o" / "index.html").read_text()
    for worst in (*result.worst_mask_dice, *result.worst_probability):
        assert cv2.imread(str(tmp_path / "o" / worst.picture)) is not None
        assert f"src='{worst.picture}'" in page
    assert "THE THRESHOLDS DIFFER" in page


def test_each_side_says_what_run_says(
    scanside: Command, toy_path: Path, weak: Path, dataset: Path, tmp_path: Path
) -> None:
    assert (
        scanside(
            "compare", f"{toy_path}@cpu", f"{weak}@cpu", "--data", dataset, "--output", tmp_path
        ).code
        == 0
    )
    slices, _ = records(tmp_path)
    by_source = {each.source: each for each in slices}
    for bundle, side in ((toy_path, "a"), (weak, "b")):
        run = scanside("run", dataset, "--bundle", bundle, "--backend", "cpu").slices
        assert len(run) == len(slices)
        for record in run:
            outcome = getattr(by_source[record["source"]], side)
            for field in ("status", "reason", "tumor_probability", "tumor", "segmented"):
                assert getattr(outcome, field) == record[field], (side, field)
            if record["segmented"]:
                assert outcome.area_px == record["area_px"]


def test_limits_that_fail_are_5_and_named(
    scanside: Command, toy_path: Path, weak: Path, dataset: Path, tmp_path: Path
) -> None:
    done = scanside(
        "compare", f"{toy_path}@cpu", f"{weak}@cpu", "--data", dataset, "--output", tmp_path,
        "--max-probability-difference", 0.01, "--max-flips", 12,
    )  # fmt: skip
    assert done.code == 5
    assert "--max-probability-difference" in done.err
    assert "--max-flips" not in done.err
    assert json.loads(done.out)["limits"][1]["passed"] is True
    assert (tmp_path / "index.html").exists()


def test_plain_slices_and_rejected_ones(
    scanside: Command, toy_path: Path, weak: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(dataset / "P0" / "P0_1.png", tmp_path / "in")
    (tmp_path / "in" / "z.png").write_bytes(b"no image")
    done = scanside(
        "compare", f"{toy_path}@cpu", f"{weak}@cpu", "--data", tmp_path / "in",
        "--output", tmp_path / "o", "--spacing", "0.5,0.5",
    )  # fmt: skip
    assert done.code == 3
    slices, result = records(tmp_path / "o")
    assert [each.rejected is None for each in slices] == [True, False]
    assert (result.labels, result.data.labelled, result.data.rejected) == (None, False, 1)
    assert result.area.largest_px is not None
    assert result.area.largest_mm2 == result.area.largest_px / 4
    assert "plain slices" in done.err


def test_deep_slices_have_one_window_for_both_sides(
    scanside: Command, toy_path: Path, weak: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    deep = toy.lesion_slice(1).astype(np.uint16) * 16
    cv2.imwrite(str(tmp_path / "in" / "s.png"), deep[..., ::-1])
    words = (
        "compare",
        f"{toy_path}@cpu",
        f"{weak}@cpu",
        "--data",
        tmp_path / "in",
        "--output",
        tmp_path / "o",
    )
    assert scanside(*words).code == 3
    done = scanside(*words, "--window", "0,4080", "--overwrite")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tumor_probability"]["largest"] > 0
    assert (tmp_path / "o" / "overlays" / "probability_01.png").exists()


def test_a_dataset_that_is_not_in_order_is_3_and_says_how_to_go_on(
    scanside: Command, toy_path: Path, dataset: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(dataset, tmp_path / "set")
    cv2.imwrite(str(broken / "P1" / "P1_1_mask.png"), np.zeros((5, 5), np.uint8))
    words = (
        "compare",
        f"{toy_path}@cpu",
        f"{toy_path}@cpu",
        "--data",
        broken,
        "--output",
        tmp_path / "o",
    )
    done = scanside(*words)
    assert done.code == 3
    assert "--unlabelled" in done.err
    assert scanside(*words, "--unlabelled").code == 0


@pytest.mark.parametrize(
    ("sides", "code", "words"),
    [
        (("int8:fp32", "fp32"), 2, "two precisions"),
        (("int8@cpu", "int8@gpu9"), 2, "no backend 'gpu9'"),
        (("nowhere", "fp32@cpu"), 4, "A is 'nowhere': no bundle is at nowhere"),
        (("default:fp16", "fp32@cpu"), 4, "holds no fp16"),
    ],
)
def test_a_wrong_side_is_refused_before_any_work(
    scanside: Command, dataset: Path, tmp_path: Path, sides: tuple[str, str], code: int, words: str
) -> None:
    done = scanside("compare", *sides, "--data", dataset, "--output", tmp_path / "o")
    assert done.code == code
    assert words in done.err
    assert "accepted" in done.err
    assert not (tmp_path / "o" / "results.jsonl").exists()


def test_results_are_replaced_only_when_asked(
    scanside: Command, toy_path: Path, dataset: Path, tmp_path: Path
) -> None:
    words = (
        "compare",
        f"{toy_path}@cpu",
        f"{toy_path}@cpu",
        "--data",
        dataset,
        "--output",
        tmp_path,
    )
    assert scanside(*words).code == 0
    assert scanside(*words).code == 9
    assert scanside(*words, "--overwrite").code == 0


def test_real_slices_agree_with_themselves(
    scanside: Command, data_root: Path, tmp_path: Path
) -> None:
    """The default bundle on one patient: twice the same, bit by bit."""
    patient = sorted(path for path in (data_root / "lgg").iterdir() if path.is_dir())[2]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / patient.name).symlink_to(patient)
    done = scanside(
        "compare", "default@cpu", "int8@cpu", "--data", tmp_path / "in", "--output", tmp_path / "o",
        "--max-probability-difference", 0, "--min-dice", 1, "--max-flips", 0,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["labels"]["positive"] > 0
