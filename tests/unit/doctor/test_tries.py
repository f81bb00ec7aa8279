"""Backends that are given a slice, and which `auto` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

from devices import CARD, COMPUTES, DRIVER, ORIN, ORT, X86
from gpuproviders import GpuProviders
from scanside.doctor import probe as probing
from scanside.doctor.examine import examine
from scanside.doctor.probe import BACKEND, PROVIDER, Probe
from scanside.doctor.providers import one_node, try_provider
from scanside.doctor.text import conclusion
from scanside.doctor.tries import cpu_tries
from scanside.engines import engine_folder
from scanside.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.doctor.host import Host

DESKTOP = {**X86, **CARD, **DRIVER}
ALL = ("tensorrt", "ort-trt", "cuda", "cpu", "openvino")
ORT_GPU = Probe(
    {
        "version": "1.31.1",
        "providers": "TensorrtExecutionProvider, CUDAExecutionProvider, CPUExecutionProvider",
    }
)
WORKS = {
    "onnxruntime": ORT_GPU,
    "provider:ort-trt": COMPUTES,
    "provider:cuda": COMPUTES,
    "tensorrt": Probe({"version": "10.16.1"}),
    "pycuda": Probe({"version": "2026.1", "driver": "13.0", "devices": "RTX A2000 (8.6)"}),
    "backend:tensorrt": COMPUTES,
    "backend:cuda": COMPUTES,
    "backend:cpu": COMPUTES,
}
FAILED = Probe({}, "BackendError: the device is gone")


def test_backends_that_compute_and_that_do_not(machine: Callable[..., Host]) -> None:
    imported = {"onnxruntime": ORT, "openvino": Probe({"version": "2026.4", "devices": "CPU"})}
    probes = {"backend:cpu": COMPUTES, "backend:openvino": Probe({}, "ended with SIGILL")}
    held = dict(cpu_tries(machine(X86, probes=probes), imported, whole=True))
    assert held["cpu"].finding is not None
    assert held["cpu"].finding.state == "ok"
    assert held["openvino"].finding is not None
    assert held["openvino"].finding.state == "problem"
    assert held["openvino"].finding.remedy == "pip uninstall -y openvino"


def test_on_a_gpu_auto_takes_the_first_that_computes(machine: Callable[..., Host]) -> None:
    report = examine(machine(DESKTOP, probes=WORKS), backends=ALL)
    assert report.usable == ("tensorrt", "ort-trt", "cuda", "cpu")
    assert (report.exit_code, conclusion(report)) == (
        0, "scanside runs here: --backend auto takes tensorrt",
    )  # fmt: skip


def test_without_engines_it_says_build(machine: Callable[..., Host]) -> None:
    missing = Probe({}, "EngineError: no engine was built yet for ...")
    report = examine(machine(DESKTOP, probes={**WORKS, "backend:tensorrt": missing}), backends=ALL)
    held = {finding.name: finding for finding in report.findings}["backend tensorrt"]
    assert (held.state, held.remedy) == ("missing", "scanside build")
    assert report.exit_code == 0
    assert conclusion(report).endswith("auto takes ort-trt")


def test_one_that_fails_is_passed_over_and_one_that_crashes_is_not(
    machine: Callable[..., Host],
) -> None:
    report = examine(machine(DESKTOP, probes={**WORKS, "backend:cuda": FAILED}), backends=ALL)
    assert "cuda" not in report.usable
    assert report.exit_code == 0
    crashed = Probe({}, "its process ended with SIGSEGV", crashed=True)
    report = examine(machine(DESKTOP, probes={**WORKS, "provider:ort-trt": crashed}), backends=ALL)
    assert report.exit_code == 8


def test_a_backend_whose_libraries_are_missing_is_not_tried(machine: Callable[..., Host]) -> None:
    probes = {"onnxruntime": ORT, "backend:cpu": COMPUTES}
    report = examine(machine(ORIN, probes=probes, python=(3, 10, 12)), backends=ALL)
    assert report.usable == ("cpu",)
    names = {finding.name for finding in report.findings}
    assert not names & {"backend tensorrt", "backend cuda"}


def test_the_model_of_one_node_is_one() -> None:
    model = onnx.load_from_string(one_node())
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(one_node(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.ones(64, np.float32)})
    assert found.tolist() == [2.0] * 64


@pytest.mark.parametrize("name", ["cuda", "ort-trt"])
def test_a_provider_computes_or_says_why_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    gpu = GpuProviders()
    gpu.install(monkeypatch)
    assert try_provider(name)["provider"] == gpu.made[0][0][0]
    gpu.broken = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
    with pytest.raises(BackendError, match="gave a session on CPUExecutionProvider"):
        try_provider(name)


def test_the_real_package_here_has_no_provider_on_a_gpu() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this is onnxruntime-gpu")
    tried = probing.probe(PROVIDER + "cuda")
    assert "has no CUDAExecutionProvider" in tried.error
    assert not tried.crashed


@pytest.mark.parametrize("named", ["absolute", "relative"])
def test_built_engines_are_found_where_a_run_finds_them(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child works in another folder: a cache that is named relative to this one is the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCANSIDE_CACHE", {"absolute": str(tmp_path / "kept")}.get(named, "kept"))
    assert engine_folder() == tmp_path / "kept" / "engines"
    monkeypatch.setattr(
        probing, "_CHILD",
        "import json; from scanside.engines import engine_folder;"
        "print(json.dumps([{'folder': str(engine_folder())}]))",
    )  # fmt: skip
    tried = probing.probe(BACKEND + "tensorrt")
    assert (tried.facts, tried.error) == ({"folder": str(tmp_path / "kept" / "engines")}, "")


def test_only_who_reads_kept_engines_sees_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCANSIDE_CACHE", raising=False)
    assert probing._cache(BACKEND + "tensorrt", "/empty") == {}
    for what in (BACKEND + "cpu", BACKEND + "cuda", "tensorrt", PROVIDER + "ort-trt"):
        assert probing._cache(what, "/empty") == {"SCANSIDE_CACHE": "/empty"}
