"""The commands through NVIDIA's real bindings and the real PyCUDA, on the fakes below them.

Run by ``test_on_fakes.py``, in a process of its own for each version of TensorRT.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import pytest

from scanside.engines import engine_folder
from toy import lesion_slice

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

pytestmark = pytest.mark.slow

VERSION = Path(os.environ["SCANSIDE_GPULAB_TABLES"]).stem


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def built(scanside: Callable[..., Done], toy_path: Path) -> Path:
    """The toy bundle, with engines that `scanside build` has made."""
    done = scanside("build", toy_path, "--batch", "1,1,4")
    assert done.code == 0, done.err
    return toy_path


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    folder.mkdir()
    for n in range(8):
        cv2.imwrite(str(folder / f"{n}.png"), lesion_slice(n, lesion=n % 2 == 0)[..., ::-1])
    return folder


def test_build_keeps_engines_and_timings(scanside: Callable[..., Done], toy_path: Path) -> None:
    done = scanside("build", toy_path, "--batch", "1,1,4", "--workspace", "64")
    assert done.code == 0, done.err
    assert f"TensorRT {VERSION} on Fake GPU (discrete, compute capability 8.7" in done.err
    assert "Int8 -> Half" in done.out
    assert len(list(engine_folder().glob("*.plan"))) == 2
    (timing,) = (engine_folder().parent / "timing").glob("*.bin")
    assert timing.read_bytes() == b"+timed+timed"
    again = scanside("build", toy_path, "--batch", "1,1,4", "--workspace", "64")
    assert again.err.count("there already") == 2
    other = scanside("build", toy_path, "--batch", "1,1,4", "--workspace", "32")
    assert other.err.count("there already") == 0


def test_run_gives_what_the_cpu_gives(
    scanside: Callable[..., Done], built: Path, slices: Path
) -> None:
    def records(backend: str) -> list[dict[str, Any]]:
        done = scanside("run", slices, "--bundle", built, "--backend", backend, "--format", "jsonl")
        assert done.code == 0, done.err
        return done.slices

    ours, cpu = records("tensorrt"), records("cpu")
    assert {each["backend"] for each in ours} == {"tensorrt"}
    for mine, other in zip(ours, cpu, strict=True):
        assert mine["tumor_probability"] == pytest.approx(other["tumor_probability"], abs=1e-6)
        assert {k: mine[k] for k in ("tumor", "area_px", "box", "segmented")} == {
            k: other[k] for k in ("tumor", "area_px", "box", "segmented")
        }
    assert sum(each["segmented"] for each in ours) == 4


def test_auto_takes_it_and_verify_passes(scanside: Callable[..., Done], built: Path) -> None:
    done = scanside("verify", built, "--backend", "tensorrt")
    assert done.code == 0, done.err + done.out
    done = scanside("verify", built, "--backend", "auto")
    assert done.code == 0, done.err + done.out
    assert "tensorrt" in done.out


def test_bench_times_layers(scanside: Callable[..., Done], built: Path, tmp_path: Path) -> None:
    written = tmp_path / "bench.json"
    done = scanside(
        "bench", "--bundle", built, "--backend", "tensorrt", "--duration", "0.2",
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
        done = scanside("run", slices, "--bundle", built, "--backend", "tensorrt")
        assert done.code == 4
        assert "scanside build" in done.err
        assert plan.read_bytes() == damaged
    assert scanside("build", built, "--batch", "1,1,4").code == 0
    assert scanside("run", slices, "--bundle", built, "--backend", "tensorrt").code == 0


def test_a_device_that_vanishes_is_8(
    scanside: Callable[..., Done], built: Path, slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
    done = scanside("run", slices, "--bundle", built, "--backend", "tensorrt")
    assert done.code == 8
    assert "no CUDA device that can be used" in done.err


def test_a_device_that_is_lost_ends_the_run_with_8(
    scanside: Callable[..., Done], built: Path, slices: Path
) -> None:
    import native

    machine = native.Machine(VERSION)
    machine.fail("cuGraphLaunch", at=12, times=0, text="illegal address")
    done = scanside("run", slices, "--bundle", built, "--backend", "tensorrt")
    machine.heal()
    assert done.code == 8
    assert "Fake GPU can't be used any more" in done.err
    assert "end this process and start another" in done.err
