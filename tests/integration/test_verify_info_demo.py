"""`scanside verify`, `info` and `demo` as their users call them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

import toy
from scanside.backends.onnxruntime import OnnxRuntimeBackend
from scanside.bundle import DEFAULT_BUNDLE, write_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


def test_verify_lists_what_it_compared(scanside: Command, toy_path: Path) -> None:
    done = scanside("verify", toy_path)
    assert done.code == 0
    for name in ("thresholds", "gate", "preprocessing", "tumor_probability", "masks", "decisions"):
        assert f"ok   {name}" in done.out


def test_verify_of_a_bundle_that_differs_is_5(scanside: Command, tmp_path: Path) -> None:
    manifest, files = toy.parts()
    held = msgspec.structs.replace(manifest.thresholds, gate=0.25)
    write_bundle(tmp_path / "b", msgspec.structs.replace(manifest, thresholds=held), files)
    done = scanside("verify", tmp_path / "b", "--json")
    assert done.code == 5
    report = json.loads(done.out)
    assert report["passed"] is False
    assert [c["name"] for c in report["checks"] if not c["passed"]] == ["thresholds"]
    assert "1 of" in done.err


@pytest.mark.parametrize("name", ["manifest.json", "classifier.fp32.onnx", "golden.npz"])
def test_verify_of_a_damaged_bundle_is_4(
    scanside: Command, toy_path: Path, tmp_path: Path, name: str
) -> None:
    bundle = shutil.copytree(toy_path, tmp_path / "b")
    content = bytearray((bundle / name).read_bytes())
    middle = len(content) // 2
    content[content.index(b"sha256") + 12 if name == "manifest.json" else middle] ^= 8
    (bundle / name).write_bytes(content)
    assert scanside("verify", bundle).code == 4


def test_verify_on_slices_never_compares_a_model_with_itself(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    done = scanside("verify", toy_path, "--backend", "cpu", "--data", tmp_path)
    assert done.code == 2
    assert "with itself" in done.err


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_verify_on_slices_of_ones_own(
    scanside: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    """A bundle whose fp16 models are the fp32 ones, on a backend that is off in one batch."""
    manifest, files = toy.parts()
    models = {
        role: {**held, "fp16": msgspec.structs.replace(held["fp32"], file=f"{role}.fp16.onnx")}
        for role, held in manifest.models.items()
    }
    files |= {f"{role}.fp16.onnx": files[f"{role}.fp32.onnx"] for role in models}
    fp32 = manifest.golden.tolerances["fp32"]
    golden = msgspec.structs.replace(manifest.golden, tolerances={"fp32": fp32, "fp16": fp32})
    both = msgspec.structs.replace(manifest, models=models, golden=golden)
    write_bundle(tmp_path / "b", both, files)
    for n in range(18):
        (tmp_path / "in").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / f"{n}.png"), toy.lesion_slice(n)[..., ::-1])
    classify = OnnxRuntimeBackend.classify

    def off(self: OnnxRuntimeBackend, images: np.ndarray) -> np.ndarray:
        wrong = shift if self.precision == "fp16" and len(images) == 2 else 0.0
        return classify(self, images) - np.float32(wrong)

    monkeypatch.setattr(OnnxRuntimeBackend, "classify", off)
    done = scanside(
        *("verify", tmp_path / "b", "--backend", "cpu", "--precision", "fp16"),
        *("--data", tmp_path / "in"),
    )
    assert done.code == (5 if shift else 0)
    assert ("tumor_probability (data, batch 2)" in done.out) is bool(shift)


def test_info_says_what_a_bundle_holds(scanside: Command, toy_path: Path) -> None:
    done = scanside("info", toy_path)
    assert done.code == 0
    for word in ("toy 1", "classifier", "segmenter", "fp32*", "gate 0.3", "not a medical device"):
        assert word in done.out
    assert json.loads(scanside("info", toy_path, "--json").out)["name"] == "toy"
    assert scanside("info", toy_path, "--card").out == "# toy\n"


def test_info_of_nothing_is_4(scanside: Command, tmp_path: Path) -> None:
    assert scanside("info", tmp_path).code == 4


def test_the_default_bundle_is_what_it_was_when_it_was_made(scanside: Command) -> None:
    done = scanside("verify")
    assert done.code == 0, done.out


def test_the_demonstration_finds_lesions_in_phantoms(scanside: Command, tmp_path: Path) -> None:
    output = tmp_path / "demo"
    done = scanside("demo", "--output", output)
    assert done.code == 0, done.err
    assert "phantoms" in done.err
    lines = (output / "results" / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    slices = [r for r in records if r["type"] == "slice"]
    truth = {p.name.replace("_mask", "") for p in (output / "phantoms").rglob("*_mask.png")}
    right = sum((r["source"].split("/")[-1] in truth) is r["tumor"] for r in slices)
    assert right >= 0.8 * len(slices)
    assert (output / "results" / "index.html").exists()


def test_the_demonstration_takes_a_folder_of_ones_own(scanside: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    cv2.imwrite(str(tmp_path / "mine" / "a.png"), np.zeros((256, 256, 3), np.uint8))
    done = scanside("demo", tmp_path / "mine", "--output", tmp_path / "out")
    assert done.code == 0
    assert "phantoms" not in done.err
    assert not (tmp_path / "out" / "phantoms").exists()


def test_the_demonstration_never_removes_what_it_did_not_make(
    scanside: Command, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = scanside("demo", "--output", tmp_path)
    assert done.code == 9
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_demonstration_never_removes_the_folder_it_is_shown(
    scanside: Command, tmp_path: Path
) -> None:
    mine = tmp_path / "demo" / "mine"
    mine.mkdir(parents=True)
    (tmp_path / "demo" / ".scanside-demo").touch()
    done = scanside("demo", mine, "--output", tmp_path / "demo")
    assert done.code == 2
    assert mine.exists()


def test_the_default_bundle_ships() -> None:
    assert (DEFAULT_BUNDLE / "manifest.json").exists()
    assert sum(p.stat().st_size for p in DEFAULT_BUNDLE.iterdir()) < 30_000_000
