"""The commands through NVIDIA's real bindings and the real PyCUDA, on the fakes below them.

Run by ``test_on_fakes.py``, in a process of its own for each version of TensorRT.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import pytest
from bindings import RUNTIME

import toy
from scanside.backends import load
from scanside.bundle import open_bundle, write_bundle
from scanside.doctor.probe import BACKEND as PROBED
from scanside.doctor.probe import probe
from scanside.engines import engine_folder, kept_engines
from scanside.evaluation.dataset import index_dataset
from scanside_calibration.material import SLICES, gather_ranges
from scanside_calibration.parts import divide
from toy import lesion_slice

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

pytestmark = pytest.mark.slow

VERSION = Path(os.environ["SCANSIDE_GPULAB_TABLES"]).stem
RTX = RUNTIME == "tensorrt_rtx"
BACKEND = RUNTIME.replace("_", "-")
TARGET = ("--target", "rtx", "--compute-capability", "8.6") if RTX else ()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    if RTX:
        monkeypatch.setenv("FAKE_CUDA_CAPABILITY", "86")


@pytest.fixture
def built(scanside: Callable[..., Done], toy_path: Path) -> Path:
    """The toy bundle, with engines that `scanside build` has made."""
    done = scanside("build", toy_path, *TARGET, "--batch", "1,1,4")
    assert done.code == 0, done.err
    return toy_path


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    folder.mkdir()
    for n in range(8):
        cv2.imwrite(str(folder / f"{n}.png"), lesion_slice(n, lesion=n % 2 == 0)[..., ::-1])
    return folder


@pytest.fixture
def slices_of_patients(tmp_path: Path, data_root: Path) -> Path:
    """Labelled slices of six patients: ranges are not chosen from any others."""
    folder = tmp_path / "patients"
    for patient in sorted((data_root / "lgg").iterdir())[:6]:
        shutil.copytree(patient, folder / patient.name)
    return folder


def test_build_keeps_engines_and_timings(scanside: Callable[..., Done], toy_path: Path) -> None:
    done = scanside("build", toy_path, *TARGET, "--batch", "1,1,4", "--workspace", "64")
    assert done.code == 0, done.err
    device = "ahead of time" if RTX else "on Fake GPU (discrete, compute capability 8.7"
    assert re.search(f"TensorRT.* {VERSION},? {re.escape(device)}", done.err)
    assert "Int8 -> Half" in done.out
    assert len(list(engine_folder().glob("*.plan"))) == 2
    timings = (engine_folder().parent / "timing").glob("*.bin")
    assert [file.read_bytes() for file in timings] == ([] if RTX else [b"+timed+timed"])
    again = scanside("build", toy_path, *TARGET, "--batch", "1,1,4", "--workspace", "64")
    assert again.err.count("there already") == 2
    other = scanside("build", toy_path, *TARGET, "--batch", "1,1,4", "--workspace", "32")
    assert other.err.count("there already") == 0


def test_run_gives_what_the_cpu_gives(
    scanside: Callable[..., Done], built: Path, slices: Path
) -> None:
    def records(backend: str) -> list[dict[str, Any]]:
        done = scanside("run", slices, "--bundle", built, "--backend", backend, "--format", "jsonl")
        assert done.code == 0, done.err
        return done.slices

    ours, cpu = records(BACKEND), records("cpu")
    assert {each["backend"] for each in ours} == {BACKEND}
    for mine, other in zip(ours, cpu, strict=True):
        assert mine["tumor_probability"] == pytest.approx(other["tumor_probability"], abs=1e-6)
        assert {k: mine[k] for k in ("tumor", "area_px", "box", "segmented")} == {
            k: other[k] for k in ("tumor", "area_px", "box", "segmented")
        }
    assert sum(each["segmented"] for each in ours) == 4


def test_auto_takes_it_and_verify_passes(scanside: Callable[..., Done], built: Path) -> None:
    done = scanside("verify", built, "--backend", BACKEND)
    assert done.code == 0, done.err + done.out
    if RTX:
        return  # auto does not look for it
    done = scanside("verify", built, "--backend", "auto")
    assert done.code == 0, done.err + done.out
    assert "tensorrt" in done.out


def test_bench_times_layers(scanside: Callable[..., Done], built: Path, tmp_path: Path) -> None:
    written = tmp_path / "bench.json"
    done = scanside(
        "bench", built, "--backend", BACKEND, "--duration", "0.2",
        "--profile-layers", "--json", written,
    )  # fmt: skip
    assert done.code in {0, 6}, done.err
    assert re.search(r"classifier.*\n.*conv1", done.out)
    layers = json.loads(written.read_bytes())["layers"]
    assert layers["segmenter"] == [{"name": "conv1", "median_ms": 0.5, "share": 1.0}]


def test_a_damaged_engine_is_4_and_built_again_only_when_told(
    scanside: Callable[..., Done], built: Path, slices: Path
) -> None:
    plan = max(engine_folder().glob("*.plan"))
    content = plan.read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        plan.write_bytes(damaged)
        done = scanside("run", slices, "--bundle", built, "--backend", BACKEND)
        assert done.code == 4
        assert "scanside build" in done.err
        assert plan.read_bytes() == damaged
    assert scanside("build", built, *TARGET, "--batch", "1,1,4").code == 0
    assert scanside("run", slices, "--bundle", built, "--backend", BACKEND).code == 0


def test_a_device_that_vanishes_is_8(
    scanside: Callable[..., Done], built: Path, slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
    done = scanside("run", slices, "--bundle", built, "--backend", BACKEND)
    assert done.code == 8
    assert "no CUDA device that can be used" in done.err


def test_a_device_that_is_lost_ends_the_run_with_8(
    scanside: Callable[..., Done], built: Path, slices: Path
) -> None:
    import native

    machine = native.Machine(VERSION)
    machine.fail("cuGraphLaunch", at=12, times=0, text="illegal address")
    done = scanside("run", slices, "--bundle", built, "--backend", BACKEND)
    machine.heal()
    assert done.code == 8
    assert "Fake GPU can't be used any more" in done.err
    assert "end this process and start another" in done.err


def test_implicit_int8_takes_every_slice_as_it_is(
    scanside: Callable[..., Done], tmp_path: Path, slices_of_patients: Path
) -> None:
    """From labelled slices to a verified engine: `--implicit-int8` as a user calls it."""
    parts = toy.with_int8(*toy.parts())
    bundle = write_bundle(tmp_path / "both", *parts).path
    split = tmp_path / "split.json"
    assert scanside("data", "split", slices_of_patients, "--output", split).code == 0
    words = (
        "build", bundle, *TARGET, "--precision", "int8", "--implicit-int8", slices_of_patients,
        "--split", split,
    )  # fmt: skip
    done = scanside(*words)
    if RTX or VERSION.startswith("11."):
        assert done.code == (2 if RTX else 8)
        assert "--implicit-int8" in done.err
        return
    assert done.code == 0, done.err
    dataset = index_dataset(slices_of_patients)
    material = gather_ranges(
        dataset, divide(dataset, split, 0), count=SLICES, seed=0,
        stage=lambda *_: nullcontext(lambda _: None),
    )  # fmt: skip
    sums = [int(image.sum()) for image in material.batches(1)]
    assert len(sums) >= 32
    chosen = f"ranges chosen by IInt8EntropyCalibrator2 from {len(sums)} slices"
    assert done.out.count(chosen) == 2
    for sidecar in kept_engines(engine_folder()):
        assert sidecar.key.settings["calibration_images_sha256"] == material.images_sha256
        assert f"--implicit-int8 {slices_of_patients} --split {split}" in sidecar.command
    kept = [file.read_bytes() for file in (engine_folder().parent / "calibration").glob("*.bin")]
    assert [json.loads(content) for content in kept] == [sums, sums]
    assert scanside(*words, "--rebuild").out.count("ranges from the cache") == 2
    done = scanside("verify", bundle, "--backend", BACKEND, "--precision", "int8")
    assert done.code == 0, done.err + done.out
    backend = load(BACKEND, open_bundle(bundle), "int8").backend
    assert backend.describe()["engines"].count("INT8 ranges chosen by TensorRT") == 2
    backend.close()


def test_the_bundle_that_ships_is_built_named_by_doctor_and_verified(
    scanside: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acceptance test of a new device, from a cache that is named relative to this folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCANSIDE_CACHE", "kept")
    assert scanside("build", *TARGET).code == 0
    done = scanside("doctor", "--format", "json")
    found = {each["name"]: each for each in json.loads(done.out)["findings"]}
    engines = kept_engines(tmp_path / "kept" / "engines")
    assert len(engines) == 2
    for sidecar in engines:
        assert sidecar.key.digest[:12] in found["engines"]["found"]
        assert sidecar.key.profile == open_bundle().manifest.batch.profile
        assert sidecar.bundle_profile is None
    if not RTX:
        computed = probe(f"{PROBED}tensorrt")
        assert computed.error == ""
        assert all(sidecar.key.digest[:12] in computed.facts["engines"] for sidecar in engines)
    done = scanside("verify", "--backend", BACKEND)
    assert done.code == 0, done.err + done.out
