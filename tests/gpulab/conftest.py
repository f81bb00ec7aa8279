"""Where NVIDIA's wheels are: they may not be shipped, so whoever has them names their folder.

``SCANSIDE_GPULAB`` is a folder that holds ``rtx`` (a virtual environment with TensorRT-RTX's
bindings and the execution provider's wheel, which brings the compiler), ``trt/VERSION`` (the
bindings of a version of TensorRT) and ``stub/MAJOR`` (empty libraries that satisfy their loader).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def gpulab() -> Path:
    """The folder; absent: skipped."""
    named = os.environ.get("SCANSIDE_GPULAB")
    if not named:
        pytest.skip("SCANSIDE_GPULAB names no folder with NVIDIA's wheels")
    return Path(named)


@pytest.fixture(scope="session")
def rtx_path(gpulab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with TensorRT-RTX and nothing else."""
    folder = tmp_path_factory.mktemp("rtx")
    for name in ("tensorrt_rtx_bindings", "onnxruntime_ep_nv_tensorrt_rtx"):
        found = next(gpulab.glob(f"rtx/lib/python3.*/site-packages/{name}"), None)
        if found is None:
            pytest.skip(f"{gpulab} has no {name}")
        (folder / name).symlink_to(found)
    return folder
