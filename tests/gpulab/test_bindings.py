"""The builder touches only what the real bindings of each version have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import fake_tensorrt
from scanside_export.engine.compiler import compile_engine
from scanside_export.engine.exchange import Request, Settings

if TYPE_CHECKING:
    from pathlib import Path

PROBE = """
import json, sys
import tensorrt_bindings as trt
lacks = [f"{c}.{m}" for c, m in json.loads(sys.stdin.read()) if not hasattr(getattr(trt, c), m)]
for name in ("IProgressMonitor",):
    print(name, hasattr(trt, name))
print("ignore_mismatch", "ignore_mismatch" in trt.IBuilderConfig.set_timing_cache.__doc__)
print("version", trt.__version__)
print("lacks", lacks)
"""


@pytest.mark.parametrize("version", [v for v in fake_tensorrt.VERSIONS if v != "rtx"])
def test_the_fake_is_held_against_the_real_bindings(
    version: str, gpulab: Path, tmp_path: Path
) -> None:
    bindings = gpulab / "trt" / version
    if not (bindings / "tensorrt_bindings").is_dir() or sys.version_info[:2] != (3, 11):
        pytest.skip(f"no bindings of TensorRT {version} for this Python in {gpulab}")
    trt = fake_tensorrt.make(version, refuse_typed=version == "10.3.0")
    for name in ("typed", "flagged"):
        (tmp_path / name).touch()
    files = {name: str(tmp_path / name) for name in ("typed", "flagged", "plan", "timing")}
    settings = Settings(
        target="trt", precision="int8", profile=(1, 1, 4), workspace=64, tactic_dram=64,
        hardware="ampere+", version_compatible=True,
    )  # fmt: skip
    compile_engine(trt, Request(settings=settings, **files), lambda _: None)
    touched = sorted(trt.touched)
    assert len(touched) > 20
    enumerations = {
        name: list(held.__members__)
        for name, held in vars(trt).items()
        if isinstance(held, fake_tensorrt.Enumeration)
    }
    asked = touched + [(name, member) for name, all_ in enumerations.items() for member in all_]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE],
        input=json.dumps(asked), capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(bindings),
            "LD_LIBRARY_PATH": str(gpulab / "stub" / version.partition(".")[0]),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert told == {
        "IProgressMonitor": str(version != "8.6.1"),
        "ignore_mismatch": "True",
        "version": version,
        "lacks": "[]",
    }
