"""The environment stamp: which machine, how it is set, and what is installed.

Every function takes the root of the file system, so that it can be told of other machines.
"""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from scanside.backends.cores import usable_cores
from scanside.bench.schema import Environment
from scanside.release import release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ROOT", "cpu_name", "governors", "jetson", "read_text", "stamp"]

ROOT: Final = Path("/")

_NVPMODEL_SECONDS: Final = 5.0


def stamp(
    backend: Mapping[str, str],
    *,
    root: Path = ROOT,
    run: Callable[[tuple[str, ...]], str] | None = None,
) -> Environment:
    """Describe this machine.

    Parameters
    ----------
    backend
        What the backend says of itself.
    root
        Root of the file system.
    run
        Runs a program and returns what it prints, empty if that fails.
    """
    cpuinfo = read_text(root / "proc/cpuinfo")
    return Environment(
        machine=_machine(root),
        cpu=cpu_name(cpuinfo),
        architecture=platform.machine(),
        cores=sum(line.startswith("processor") for line in cpuinfo.splitlines()),
        usable_cores=usable_cores(root),
        governors=governors(root),
        clock_limits=_clock_limits(root),
        memory_bytes=_memory(read_text(root / "proc/meminfo")),
        system=_system(read_text(root / "etc/os-release")),
        kernel=read_text(root / "proc/sys/kernel/osrelease"),
        virtualised=any(
            line.startswith("flags") and " hypervisor" in line for line in cpuinfo.splitlines()
        ),
        versions=_versions(),
        backend=dict(backend),
        jetson=jetson(root, run or _run),
    )


def read_text(path: Path) -> str:
    """Return a small file of the system without surrounding white space; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    except OSError:
        return ""


def cpu_name(cpuinfo: str) -> str:
    """Return what ``/proc/cpuinfo`` calls the processor.

    On Arm there is no name: implementer and part number of the cores, with their counts
    (``4 x 0x41/0xd42``: Cortex-A78AE), are what it says.
    """
    fields = [
        (key.strip(), value.strip())
        for key, _, value in (line.partition(":") for line in cpuinfo.splitlines())
    ]
    for key, value in fields:
        if key == "model name":
            return value
    implementers = [value for key, value in fields if key == "CPU implementer"]
    parts = [value for key, value in fields if key == "CPU part"]
    pairs = zip(implementers, parts, strict=False)
    cores = Counter(f"{implementer}/{part}" for implementer, part in pairs)
    return ", ".join(f"{count} x {core}" for core, count in cores.items()) or "unknown"


def governors(root: Path = ROOT) -> dict[str, str]:
    """Return the governor of every clock: ``policy0`` of the processor, devices by name."""
    found = {}
    for policy in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*")):
        found[policy.name] = read_text(policy / "scaling_governor")
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        found[device.name] = read_text(device / "governor")
    return {name: value for name, value in found.items() if value}


def _clock_limits(root: Path) -> dict[str, str]:
    found = {}
    for policy in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*")):
        low, high = (read_text(policy / f"scaling_{end}_freq") for end in ("min", "max"))
        if low.isdigit() and high.isdigit():
            found[policy.name] = f"{int(low) / 1e3:g} to {int(high) / 1e3:g} MHz"
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        low, high = (read_text(device / f"{end}_freq") for end in ("min", "max"))
        if low.isdigit() and high.isdigit():
            found[device.name] = f"{int(low) / 1e6:g} to {int(high) / 1e6:g} MHz"
    boost = read_text(root / "sys/devices/system/cpu/cpufreq/boost")
    turbo_off = read_text(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    if boost or turbo_off:
        found["boost"] = "on" if boost == "1" or turbo_off == "0" else "off"
    return found


def jetson(root: Path, run: Callable[[tuple[str, ...]], str]) -> dict[str, str]:
    """Return what is special about a Jetson: L4T release and power mode; empty elsewhere.

    References
    ----------
    NVIDIA Jetson Linux Developer Guide, "Power Management": nvpmodel.
    """
    release = read_text(root / "etc/nv_tegra_release")
    if not release:
        return {}
    found = {"l4t": release.splitlines()[0].lstrip("# ")}
    mode = parse_nvpmodel(run(("nvpmodel", "-q")))
    found["nvpmodel"] = mode or "unknown: nvpmodel -q failed; ask it as root"
    return found


def parse_nvpmodel(printed: str) -> str:
    """Return mode and number from what ``nvpmodel -q`` prints (``MAXN (0)``); empty if neither."""
    lines = [line.strip() for line in printed.splitlines()]
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        name, found, mode = line.partition("NV Power Mode:")
        if found and not name:
            return f"{mode.strip()} ({following})" if following.isdigit() else mode.strip()
    return ""


def _run(words: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the words are constants
            words, capture_output=True, text=True, timeout=_NVPMODEL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _machine(root: Path) -> str:
    for place in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        if name := read_text(root / place):
            return name
    return "unknown"


def _memory(meminfo: str) -> int:
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0


def _system(release: str) -> str:
    for line in release.splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return platform.system()


def _versions() -> dict[str, str]:
    return {
        "scanside": release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
