"""The real onnxruntime-gpu where its libraries can't be loaded: it goes on with the CPU, we don't.

``SCANSIDE_GPULAB/ortgpu`` is an environment with onnxruntime-gpu; the driver is a host-memory one,
so that nothing but the package itself stands in the way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import toy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

ASK = """
import json, sys
from pathlib import Path
import onnxruntime
from scanside import backends, open_bundle
from scanside.errors import BackendError

bundle = open_bundle(Path(sys.argv[1]))
told = {"available": onnxruntime.get_available_providers()}
plain = onnxruntime.InferenceSession(
    bundle.read_model("classifier", "fp32"), providers=["CUDAExecutionProvider"]
)
told["plain"] = plain.get_providers()
for name in ("cuda", "ort-trt"):
    try:
        backends.load(name, bundle)
    except BackendError as error:
        told[name] = [error.exit_code, str(error)]
found = backends.load("auto", bundle)
told["auto"] = [found.backend.name, found.fallback]
print(json.dumps(told))
"""


def test_a_session_that_fell_back_is_refused(gpulab: Path, tmp_path: Path) -> None:
    package = next(gpulab.glob("ortgpu/lib/python3.*/site-packages/onnxruntime"), None)
    if package is None or f"python{sys.version_info[0]}.{sys.version_info[1]}" not in str(package):
        pytest.skip(f"{gpulab} has no onnxruntime-gpu for this Python")
    if not (gpulab / "fakecuda" / "libcuda.so.1").exists():
        pytest.skip(f"{gpulab} has no fakecuda/libcuda.so.1")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "onnxruntime").symlink_to(package)
    toy.write(tmp_path / "bundle")
    path = [str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", ASK, tmp_path / "bundle"],
        capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "LD_LIBRARY_PATH": str(gpulab / "fakecuda"),
            "SCANSIDE_CACHE": str(tmp_path / "cache"),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert {"CUDAExecutionProvider", "TensorrtExecutionProvider"} <= set(told["available"])
    assert told["plain"] == ["CPUExecutionProvider"]  # what it does unasked
    for name in ("cuda", "ort-trt"):
        code, said = told[name]
        assert code == 8
        assert "scanside doctor" in said
    backend, fallback = told["auto"]
    assert backend in {"cpu", "openvino"}
    assert "ort-trt: " in fallback
    assert "cuda: " in fallback
