"""ONNX Runtime, OpenVINO and what they would report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices import CARD, DRIVER, ORIN, ORT, X86
from scanside.doctor.platforms import platform_of
from scanside.doctor.probe import Probe
from scanside.doctor.runtimes import runtime_findings, telemetry_finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.doctor.findings import Finding
    from scanside.doctor.host import Host

PLAIN = {"onnxruntime": "1.32.0"}


def found(host: Host, backends: tuple[str, ...] = ("cpu", "openvino")) -> dict[str, Finding]:
    held = runtime_findings(host, platform_of(host.root), backends)
    return {finding.name: finding for finding, _ in held}


def test_a_whole_installation(machine: Callable[..., Host]) -> None:
    held = found(machine(X86, probes={"onnxruntime": ORT}, versions=PLAIN))
    assert held["onnxruntime"].state == "ok"
    assert held["onnxruntime"].found == "1.32.0; providers CPUExecutionProvider"
    assert held["openvino"].state == held["gpu providers"].state == "absent-by-design"
    assert "pip install 'scanside[openvino]'" in held["openvino"].remedy


def test_openvino_is_not_offered_on_arm(machine: Callable[..., Host]) -> None:
    assert found(machine(ORIN))["openvino"].remedy == ""


def test_nothing_is_installed(machine: Callable[..., Host]) -> None:
    held = found(machine(X86))["onnxruntime"]
    assert (held.state, held.remedy) == ("missing", "pip install 'scanside[cpu]'")


def test_files_that_are_gone(machine: Callable[..., Host]) -> None:
    held = found(machine(X86, versions={**PLAIN, "openvino": "2026.4"}))
    assert held["onnxruntime"].state == held["openvino"].state == "problem"
    assert "onnxruntime 1.32.0, and its files are gone" in held["onnxruntime"].found


def test_two_that_write_over_each_other(machine: Callable[..., Host]) -> None:
    both = {**PLAIN, "onnxruntime-gpu": "1.31.1"}
    held = found(machine(X86, probes={"onnxruntime": ORT}, versions=both))["onnxruntime"]
    assert held.state == "problem"
    assert "onnxruntime 1.32.0, onnxruntime-gpu 1.31.1" in held.found
    assert held.remedy.startswith("pip uninstall -y onnxruntime onnxruntime-gpu && ")


def test_one_that_cannot_be_imported(machine: Callable[..., Host]) -> None:
    broken = Probe({}, "ImportError: numpy.core.multiarray failed to import")
    held = found(machine(X86, probes={"onnxruntime": broken}, versions=PLAIN))["onnxruntime"]
    assert held.state == "problem"
    assert "multiarray" in held.found


def test_one_that_is_too_old(machine: Callable[..., Host]) -> None:
    old = Probe({"version": "1.9.0", "providers": "CPUExecutionProvider"})
    held = found(machine(X86, probes={"onnxruntime": old}))["onnxruntime"]
    assert held.state == "problem"
    assert "1.20 and later" in held.found


DESKTOP = {**X86, **CARD, **DRIVER}
GPU = Probe(
    {
        "version": "1.31.1",
        "providers": "TensorrtExecutionProvider, CUDAExecutionProvider, CPUExecutionProvider",
    }
)
ON_GPU = ("ort-trt", "cuda", "cpu")


def test_providers_that_the_package_lacks(machine: Callable[..., Host]) -> None:
    held = found(machine(DESKTOP, probes={"onnxruntime": ORT}, versions=PLAIN), ON_GPU)
    for name in ("ort-trt", "cuda"):
        assert held[f"provider {name}"].state == "missing"
        assert "pip install 'scanside[gpu]'" in held[f"provider {name}"].remedy
    assert "CUDAExecutionProvider" in held["provider cuda"].found


def test_without_a_gpu_no_provider_is_tried(machine: Callable[..., Host]) -> None:
    held = found(machine(X86, probes={"onnxruntime": GPU}), ON_GPU)
    assert held["gpu providers"].state == "absent-by-design"


def test_providers_are_let_compute(machine: Callable[..., Host]) -> None:
    probes = {
        "onnxruntime": GPU,
        "provider:cuda": Probe({"provider": "CUDAExecutionProvider"}),
        "provider:ort-trt": Probe({}, "BackendError: libnvinfer.so.10: cannot open"),
    }
    held = found(machine(DESKTOP, probes=probes), ON_GPU)
    assert held["provider cuda"].state == "ok"
    assert held["provider ort-trt"].state == "problem"
    assert "libnvinfer.so.10" in held["provider ort-trt"].found
    assert held["provider ort-trt"].remedy == "pip install --upgrade 'scanside[gpu]'"


def test_on_a_jetson_tensorrt_is_not_had_through_onnxruntime(machine: Callable[..., Host]) -> None:
    held = found(machine(ORIN, probes={"onnxruntime": ORT}), ON_GPU)
    assert held["provider ort-trt"].state == "absent-by-design"
    assert held["provider cuda"].state == "missing"


def test_a_broken_gpu_package_is_installed_again_as_one(machine: Callable[..., Host]) -> None:
    broken = Probe({}, "ImportError: libcudart.so.13")
    versions = {"onnxruntime-gpu": "1.31.1"}
    host = machine(X86, probes={"onnxruntime": broken}, versions=versions)
    assert found(host)["onnxruntime"].remedy.endswith("'scanside[cpu]'")
    host = machine(DESKTOP, probes={"onnxruntime": broken}, versions=versions)
    assert found(host)["onnxruntime"].remedy.endswith("'scanside[gpu]'")


def test_telemetry(machine: Callable[..., Host]) -> None:
    assert telemetry_finding(machine({})).state == "ok"
    for environment in ({}, {"ORT_DISABLE_TELEMETRY": "0"}):
        held = telemetry_finding(machine({}, environment=environment))
        assert held.state == "problem"
        assert "export ORT_DISABLE_TELEMETRY=1" in held.remedy
