"""Builder and backend end to end: NVIDIA's real bindings and the real PyCUDA, on fakes.

The tests of ``unit/backends/tensorrt`` (which otherwise run on a device in Python) and those of
``onfakes/commands.py``, once for each version of TensorRT, in a process of its own: libraries that
stand in for others have to be on the loader's path before it starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fake_tensorrt

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
TESTS = (HERE.parent / "unit" / "backends" / "tensorrt", HERE / "onfakes" / "commands.py")


@pytest.mark.parametrize(
    "version", [fake_tensorrt.RTX_VERSION if v == "rtx" else v for v in fake_tensorrt.VERSIONS]
)
def test_on_fakes(version: str, gpulab: Path, tmp_path: Path) -> None:
    tables = gpulab / "tables" / f"{version}.json"
    if not tables.exists() or not (gpulab / "pycuda").is_dir():
        pytest.skip(f"{gpulab} has no bindings of TensorRT {version} for this Python: make gpulab")
    libraries = (gpulab / "stub" / version.partition(".")[0], gpulab / "fakecuda")
    packages = (
        HERE / "fakes",
        HERE
        / "fakes"
        / ("as_tensorrt_rtx" if version == fake_tensorrt.RTX_VERSION else "as_tensorrt"),
        gpulab / "trt" / version,
        gpulab / "pycuda",
        HERE.parent / "support",
    )
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "--basetemp", tmp_path / "child", *TESTS],
        check=False, capture_output=True, text=True, cwd=HERE.parents[1],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "PYTHONPATH": os.pathsep.join([*filter(None, before), *map(str, packages)]),
            "SCANSIDE_GPULAB_TABLES": str(tables),
        },
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert "passed" in done.stdout
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all("no real data" in line for line in skipped), skipped
