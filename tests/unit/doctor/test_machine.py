"""Processor, cores, power mode, clocks, memory and disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devices import GIB, ORIN, X86
from scanside.doctor.machine import machine_findings, power_modes
from scanside.doctor.platforms import platform_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.doctor.findings import Finding
    from scanside.doctor.host import Host


def found(host: Host) -> dict[str, Finding]:
    held = list(machine_findings(host, platform_of(host.root), Path("/cache")))
    assert len({finding.name for finding in held}) == len(held)
    return {finding.name: finding for finding in held}


def test_a_workstation(machine: Callable[..., Host]) -> None:
    held = found(machine(X86))
    assert "AVX-512 VNNI" in held["processor"].found
    assert "INT8: fast" in held["processor"].found
    assert "2 to compute on, of 2" in held["cores"].found
    assert held["memory"].found.startswith("8.0 GiB available of 16.0")
    assert "51 degrees" in held["temperature"].found
    assert held["clocks"].remedy.endswith("cpupower frequency-set -g performance")
    assert "power mode" not in held
    assert {finding.state for finding in held.values()} == {"ok"}


def test_without_vnni_int8_is_said_to_be_slower(machine: Callable[..., Host]) -> None:
    files = {**X86, "proc/cpuinfo": X86["proc/cpuinfo"].replace(" avx512_vnni", "")}
    processor = found(machine(files))["processor"]
    assert processor.state == "ok"
    assert "no VNNI" in processor.found


def test_without_avx2_the_processor_is_a_problem(machine: Callable[..., Host]) -> None:
    files = {**X86, "proc/cpuinfo": "processor\t: 0\nmodel name\t: QEMU\nflags\t: fpu sse4_2\n"}
    processor = found(machine(files))["processor"]
    assert processor.state == "problem"
    assert "-cpu host" in processor.remedy


def test_an_orin(machine: Callable[..., Host]) -> None:
    held = found(machine(ORIN, tools={"nvpmodel": "NV Power Mode: 15W\n0\n"}))
    assert "FP16, dot product" in held["processor"].found
    assert held["power mode"].found.startswith("15W (0);")
    assert held["power mode"].remedy.startswith("for the most speed: sudo nvpmodel -m 2 ")
    assert held["clocks"].remedy == "before a benchmark: sudo jetson_clocks"
    assert "swap 3.7 GiB" in held["memory"].found


def test_the_power_mode_is_known_without_root(machine: Callable[..., Host]) -> None:
    assert found(machine(ORIN))["power mode"].found.startswith("25W (1);")


def test_the_fastest_power_mode_has_no_remedy(machine: Callable[..., Host]) -> None:
    host = machine({**ORIN, "var/lib/nvpmodel/status": "pmode:0002"})
    assert found(host)["power mode"].remedy == ""


def test_an_unknown_power_mode_is_a_problem(machine: Callable[..., Host]) -> None:
    files = {name: text for name, text in ORIN.items() if "nvpmodel" not in name}
    assert found(machine(files))["power mode"].state == "problem"


def test_power_modes_of_a_configuration() -> None:
    assert power_modes(ORIN["etc/nvpmodel.conf"]) == {0: "15W", 1: "25W", 2: "MAXN_SUPER"}
    assert power_modes("# < POWER_MODEL ID=7 NAME=NO >") == {}


def test_reduced_clocks_are_a_problem(machine: Callable[..., Host]) -> None:
    cooling = {
        "sys/class/thermal/cooling_device1/type": "devfreq-17000000.gpu\n",
        "sys/class/thermal/cooling_device1/cur_state": "2\n",
    }
    held = found(machine({**ORIN, **cooling}))["temperature"]
    assert held.state == "problem"
    assert "devfreq-17000000.gpu" in held.found


@pytest.mark.parametrize(
    "group",
    [
        {
            "proc/self/cgroup": "0::/scan/side\n",
            "sys/fs/cgroup/scan/memory.max": "1073741824\n",
            "sys/fs/cgroup/scan/memory.current": "805306368\n",
            "sys/fs/cgroup/scan/side/memory.max": "max\n",
        },
        {
            "proc/self/cgroup": "4:memory:/docker/1\n1:cpu:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "805306368\n",
            "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "9223372036854771712\n",
        },
    ],
    ids=["v2", "v1"],
)
def test_the_control_group_limits_the_memory(
    group: dict[str, str], machine: Callable[..., Host]
) -> None:
    held = found(machine({**X86, **group}))["memory"]
    assert held.state == "problem"
    assert "the control group allows 1.0 GiB, of which 0.8 are in use" in held.found


def test_a_quota_limits_the_cores(machine: Callable[..., Host]) -> None:
    files = {**X86, "sys/fs/cgroup/cpu.max": "100000 100000\n"}
    assert found(machine(files))["cores"].found.startswith("1 to compute on, of 2 logical")


def test_a_full_disk_is_a_problem(machine: Callable[..., Host]) -> None:
    assert found(machine(X86, free=GIB // 4))["disk"].state == "problem"


def test_a_machine_that_shows_nothing_ends_nothing(machine: Callable[..., Host]) -> None:
    held = found(machine({}))
    assert held["clocks"].state == held["temperature"].state == "absent-by-design"
    assert held["memory"].state == "problem"
