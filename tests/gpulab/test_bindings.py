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
import importlib, json, sys
trt = importlib.import_module(sys.argv[1])
lacks = [f"{c}.{m}" for c, m in json.loads(sys.stdin.read()) if not hasattr(getattr(trt, c), m)]
for name in ("IProgressMonitor",):
    print(name, hasattr(trt, name))
print("ignore_mismatch", "ignore_mismatch" in trt.IBuilderConfig.set_timing_cache.__doc__)
print("version", trt.__version__)
print("lacks", lacks)
"""


@pytest.mark.parametrize("version", fake_tensorrt.VERSIONS)
def test_the_fake_is_held_against_the_real_bindings(
    version: str, gpulab: Path, tmp_path: Path
) -> None:
    rtx = version == "rtx"
    name = "tensorrt_rtx_bindings" if rtx else "tensorrt_bindings"
    bindings = gpulab / "trt" / (fake_tensorrt.RTX_VERSION if rtx else version)
    if not (bindings / name).is_dir() or sys.version_info[:2] != (3, 11):
        pytest.skip(f"no bindings of TensorRT {version} for this Python in {gpulab}")
    trt = fake_tensorrt.make(version, refuse_typed=version == "10.3.0")
    for file in ("typed", "flagged"):
        (tmp_path / file).touch()
    files = {file: str(tmp_path / file) for file in ("typed", "flagged", "plan", "timing")}
    settings = Settings(
        target="rtx" if rtx else "trt", precision="int8", profile=(1, 1, 4), workspace=64,
        tactic_dram=64, hardware="none" if rtx else "ampere+", version_compatible=not rtx,
        capabilities=("8.6", "12.0") if rtx else (),
    )  # fmt: skip
    compile_engine(trt, Request(settings=settings, **files), lambda _: None)
    touched = sorted(trt.touched)
    assert len(touched) > 15
    enumerations = {
        owner: list(held.__members__)
        for owner, held in vars(trt).items()
        if isinstance(held, fake_tensorrt.Enumeration)
    }
    asked = touched + [(owner, member) for owner, all_ in enumerations.items() for member in all_]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, name],
        input=json.dumps(asked), capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(bindings),
            "LD_LIBRARY_PATH": str(gpulab / "stub" / bindings.name.partition(".")[0]),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert told == {
        "IProgressMonitor": str(version != "8.6.1"),
        "ignore_mismatch": "True",
        "version": bindings.name,
        "lacks": "[]",
    }
