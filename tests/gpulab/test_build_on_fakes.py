"""`scanside build` on a device that is a host-memory libcuda, with a fake TensorRT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fake_tensorrt
from scanside.engines import engine_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _device(gpulab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (gpulab / "fakecuda" / "libcuda.so.1").exists():
        pytest.skip(f"{gpulab} has no fakecuda/libcuda.so.1")
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(gpulab / "fakecuda"))
    (tmp_path / "tensorrt.py").write_text(
        "import os, sys, fake_tensorrt\n"
        "sys.modules[__name__] = fake_tensorrt.make(os.environ['FAKE_TENSORRT'])\n"
    )
    support = str(Path(fake_tensorrt.__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), support]))


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.4.0.106"])
def test_every_version_builds_and_keeps_its_timings(
    version: str, toy_path: Path, scanside: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", version)
    done = scanside("build", toy_path)
    assert done.code == 0, done.err
    assert f"TensorRT {version} on " in done.err
    assert len(list(engine_folder().glob("*.plan"))) == 2
    (timing,) = (engine_folder().parent / "timing").glob("*.bin")
    assert timing.read_bytes() == b"+timed+timed"
    assert scanside("build", toy_path).err.count("there already") == 2
    # Another version's engines are not this one's.
    monkeypatch.setenv("FAKE_TENSORRT", "10.13.3.9")
    assert scanside("build", toy_path).err.count("there already") == 0


def test_without_a_device_it_says_so(
    toy_path: Path, scanside: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "10.3.0")
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
    done = scanside("build", toy_path)
    assert done.code == 8
    assert "CUDA error 100" in done.err or "knows of no GPU" in done.err
