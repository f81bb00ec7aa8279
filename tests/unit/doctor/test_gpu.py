"""GPU, driver, JetPack, TensorRT and PyCUDA, with GPU backends and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devices import CARD, DRIVER, ORIN, THOR, X86
from scanside.doctor.gpu import GPU_BACKENDS, gpu_findings
from scanside.doctor.platforms import platform_of
from scanside.doctor.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.doctor.findings import Finding
    from scanside.doctor.host import Host

CPU_ONLY = ("cpu", "openvino")
ALL = (*CPU_ONLY, *GPU_BACKENDS)
DESKTOP = {**X86, **CARD, **DRIVER}


def found(host: Host, backends: tuple[str, ...] = CPU_ONLY) -> dict[str, Finding]:
    held = gpu_findings(host, platform_of(host.root), backends)
    return {finding.name: finding for finding in held}


@pytest.mark.parametrize("backends", [CPU_ONLY, ALL])
def test_a_machine_without_a_gpu_lacks_nothing(
    backends: tuple[str, ...], machine: Callable[..., Host]
) -> None:
    held = found(machine(X86), backends)
    assert {finding.state for finding in held.values()} == {"absent-by-design"}
    assert all(not finding.remedy for finding in held.values())


def test_without_a_gpu_backend_nothing_of_it_is_missing(machine: Callable[..., Host]) -> None:
    held = found(machine(DESKTOP))
    assert held["gpu backends"].state == "absent-by-design"
    assert "computes on the CPU" in held["gpu backends"].found
    assert held["tensorrt"].state == held["pycuda"].state == "absent-by-design"
    assert held["driver"].found.startswith("580.95.05; ")


def test_with_one_it_is_missing_with_its_command(machine: Callable[..., Host]) -> None:
    held = found(machine(DESKTOP), ALL)
    assert held["tensorrt"].state == held["pycuda"].state == "missing"
    assert "pip install 'scanside[gpu]'" in held["tensorrt"].remedy
    assert held["pycuda"].remedy.startswith("sudo apt install nvidia-cuda-toolkit && ")


def test_a_card_without_a_driver(machine: Callable[..., Host]) -> None:
    host = machine({**X86, **CARD})
    assert found(host)["driver"].state == "absent-by-design"
    driver = found(host, ALL)["driver"]
    assert driver.state == "missing"
    assert "sudo ubuntu-drivers install" in driver.remedy


def test_a_container_that_was_not_given_the_gpu(machine: Callable[..., Host]) -> None:
    files = {name: text for name, text in DESKTOP.items() if "libcuda" not in name}
    driver = found(machine(files))["driver"]
    assert driver.state == "problem"
    assert "--gpus all" in driver.remedy


def test_cards_as_the_driver_tells_of_them(machine: Callable[..., Host]) -> None:
    said = "NVIDIA RTX A2000, 580.95.05, 12282 MiB, 2100 MHz, 70.00 W, Disabled\nNo devices\n"
    held = found(machine(DESKTOP, tools={"nvidia-smi": said}))["gpu"]
    assert held.found.startswith("NVIDIA RTX A2000: 12282 MiB, driver 580.95.05, up to 2100 MHz")
    assert held.remedy == "before a benchmark: sudo nvidia-smi -pm 1"


def test_an_environment_that_does_not_see_jetpacks_tensorrt(
    machine: Callable[..., Host],
) -> None:
    held = found(machine(ORIN, python=(3, 10, 12)), ALL)
    assert held["jetpack"].state == "ok"
    assert "6.1 or 6.2 (L4T 36.4.3)" in held["jetpack"].found
    assert held["tensorrt"].state == "problem"
    assert "10.3.0.30-1+cuda12.5 is installed in the system" in held["tensorrt"].found
    assert "--system-site-packages" in held["tensorrt"].remedy
    assert held["driver"].state == "ok"
    assert held["pycuda"].remedy == "PATH=/usr/local/cuda/bin:$PATH pip install pycuda"


@pytest.mark.parametrize(("files", "python"), [(ORIN, "3.10"), (THOR, "3.12")])
def test_another_python_than_jetpacks_is_a_problem(
    files: dict[str, str], python: str, machine: Callable[..., Host]
) -> None:
    jetpack = found(machine(files, python=(3, 11, 7)))["jetpack"]
    assert jetpack.state == "problem"
    assert jetpack.remedy.startswith(f"python{python} -m venv ")


def test_a_jetson_without_jetpacks_packages(machine: Callable[..., Host]) -> None:
    files = {name: text for name, text in THOR.items() if not name.startswith(("usr", "var"))}
    held = found(machine(files, python=(3, 12, 3)), ALL)
    assert held["driver"].state == held["tensorrt"].state == held["pycuda"].state == "missing"
    assert held["tensorrt"].remedy == "sudo apt update && sudo apt install nvidia-jetpack"
    assert held["pycuda"].remedy.startswith("sudo apt install nvidia-jetpack && ")


def test_jetpack_5_is_out(machine: Callable[..., Host]) -> None:
    old = {**ORIN, "etc/nv_tegra_release": "# R35 (release), REVISION: 6.1, GCID: 1\n"}
    jetpack = found(machine(old))["jetpack"]
    assert jetpack.state == "problem"
    assert "JetPack 6" in jetpack.remedy


def test_libraries_that_work_say_what_they_are(machine: Callable[..., Host]) -> None:
    probes = {
        "tensorrt": Probe({"version": "10.3.0"}),
        "pycuda": Probe({"version": "2026.1", "driver": "12.6", "devices": "Orin (8.7)"}),
    }
    held = found(machine(ORIN, probes=probes, python=(3, 10, 12)), ALL)
    assert (held["tensorrt"].state, held["tensorrt"].found) == ("ok", "10.3.0")
    assert held["pycuda"].found == "2026.1, CUDA 12.6 by the driver; Orin (8.7)"


def test_libraries_that_fail_say_why(machine: Callable[..., Host]) -> None:
    probes = {
        "tensorrt": Probe({}, "ImportError: libnvinfer.so.11: cannot open", crashed=False),
        "pycuda": Probe({}, "ImportError: libcuda.so.1: cannot open shared object file"),
    }
    versions = {"tensorrt-cu13": "11.4.0.106", "pycuda": "2026.1"}
    held = found(machine(DESKTOP, probes=probes, versions=versions))
    assert held["tensorrt"].state == held["pycuda"].state == "problem"
    assert "libnvinfer.so.11" in held["tensorrt"].found
    assert held["tensorrt"].remedy == "pip install --force-reinstall tensorrt-cu13"
    assert "driver first" in held["pycuda"].remedy


def test_a_pycuda_that_sees_no_device(machine: Callable[..., Host]) -> None:
    probes = {"pycuda": Probe({"version": "2026.1", "driver": "12.6", "devices": ""})}
    held = found(machine(ORIN, probes=probes))["pycuda"]
    assert held.state == "problem"
    assert "usermod -aG video,render" in held.remedy
