"""Processor, cores, clocks, memory and disk."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from scanside.backends.cores import usable_cores
from scanside.backends.cpufeatures import parse_features
from scanside.bench.environment import cpu_name, governors, parse_nvpmodel, read_text
from scanside.bench.sensors import cooling_states, read_sensors
from scanside.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.doctor.host import Host
    from scanside.doctor.platforms import Platform

__all__ = ["machine_findings"]

_SIMD: Final = {
    "avx": "AVX", "avx2": "AVX2", "avx512f": "AVX-512", "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI", "avx512_bf16": "bfloat16", "amx_int8": "AMX INT8",
    "asimd": "Advanced SIMD", "asimdhp": "FP16", "asimddp": "dot product", "i8mm": "I8MM",
    "bf16": "bfloat16", "sve": "SVE", "sve2": "SVE2",
}  # fmt: skip
"""Flags of ``/proc/cpuinfo`` that decide the speed of convolutions, with their names."""

_GIB: Final = 2**30
_LEAST_MEMORY: Final = _GIB // 2
"""Bytes. A run with the default bundle peaks below 150 MB; models of full width take some more."""

_LEAST_DISK: Final = _GIB // 2
"""Bytes. Kept graphs of models of full width take 100 MB and more for each version of a library."""

_UNLIMITED: Final = 2**60
"""Bytes; control groups of version 1 say a number beyond this where there is no limit."""


def machine_findings(host: Host, platform: Platform, cache: Path | None) -> Iterator[Finding]:
    """Yield what there is to say of the machine itself.

    Parameters
    ----------
    host
        The machine.
    platform
        Its kind.
    cache
        The cache folder, none where caching is off.
    """
    yield _processor(host)
    yield _cores(host)
    if platform.kind == "jetson":
        yield _power_mode(host)
    yield _clocks(host, platform)
    yield _temperature(host)
    yield _memory(host)
    yield _disk(host, cache)


def _processor(host: Host) -> Finding:
    text = read_text(host.root / "proc/cpuinfo")
    flags: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            flags.update(value.split())
    names = list(dict.fromkeys(name for flag, name in _SIMD.items() if flag in flags))
    found = f"{cpu_name(text)}, {host.architecture}; {', '.join(names) or 'no vector extensions'}"
    if host.architecture == "x86_64" and "avx2" not in flags:
        return Finding(
            name="processor",
            state="problem",
            found=f"{found}; without AVX2 both CPU backends take their slowest kernels",
            remedy="in a virtual machine, let it see the host's processor (QEMU: -cpu host)",
        )
    wide = parse_features(host.architecture, text).wide_dot_product
    int8 = "fast" if wide else "no VNNI: exact and slower, FP32 may be as fast (scanside bench)"
    return Finding(name="processor", state="ok", found=f"{found}; INT8: {int8}")


def _cores(host: Host) -> Finding:
    text = read_text(host.root / "proc/cpuinfo")
    here = sum(line.startswith("processor") for line in text.splitlines())
    allowed = len(os.sched_getaffinity(0) if host.cpus is None else host.cpus)
    usable = usable_cores(host.root, host.cpus)
    found = f"{usable} to compute on, of {here} logical processors"
    if usable < allowed:
        found += f" ({allowed} allowed; less for hyper-threads and the control group's quota)"
    return Finding(name="cores", state="ok", found=found)


def power_modes(configuration: str) -> dict[int, str]:
    """Return the power modes by number from what is in ``/etc/nvpmodel.conf``."""
    entries = re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", configuration, re.MULTILINE)
    return {int(number): name for number, name in entries}


def _power_mode(host: Host) -> Finding:
    """Tell the power mode; the one without limits isn't number 0 on every module."""
    modes = power_modes(read_text(host.root / "etc/nvpmodel.conf"))
    mode = parse_nvpmodel(host.run(("nvpmodel", "-q")))
    if not mode:  # it needs root on some releases; the file does not
        kept = re.search(r"pmode:(\d+)", read_text(host.root / "var/lib/nvpmodel/status"))
        mode = f"{modes.get(int(kept[1]), 'mode')} ({int(kept[1])})" if kept else ""
    if not mode:
        return Finding(
            name="power mode",
            state="problem",
            found="unknown: nvpmodel -q says nothing",
            remedy="sudo nvpmodel -q",
        )
    listed = ", ".join(f"{number} {name}" for number, name in sorted(modes.items()))
    found = f"{mode}; it decides the speed, and every benchmark is stamped with it"
    found += f"; there are {listed}" if listed else ""
    fastest = [number for number, name in modes.items() if name.startswith("MAXN")]
    if mode.startswith("MAXN") or not fastest:
        return Finding(name="power mode", state="ok", found=found)
    remedy = f"for the most speed: sudo nvpmodel -m {fastest[0]} (draws more power)"
    return Finding(name="power mode", state="ok", found=found, remedy=remedy)


def _clocks(host: Host, platform: Platform) -> Finding:
    modes = governors(host.root)
    if not modes:
        found = "not shown, as in most virtual machines and containers"
        return Finding(name="clocks", state="absent-by-design", found=found)
    counted: dict[str, list[str]] = {}
    for clock, mode in modes.items():
        counted.setdefault(mode, []).append(clock)
    found = "; ".join(f"{mode}: {', '.join(clocks)}" for mode, clocks in counted.items())
    if set(counted) == {"performance"}:
        return Finding(name="clocks", state="ok", found=found)
    fix = (
        "sudo jetson_clocks" if platform.kind == "jetson" else "sudo cpupower frequency-set -g"
        " performance"
    )  # fmt: skip
    return Finding(name="clocks", state="ok", found=found, remedy=f"before a benchmark: {fix}")


def _temperature(host: Host) -> Finding:
    read = [reading.value for reading in read_sensors(host.root).values() if reading.unit == "C"]
    slowed = [name for name, state in cooling_states(host.root).items() if state > 0]
    found = f"{max(read):.0f} degrees Celsius at the hottest sensor" if read else "not shown"
    if slowed:
        return Finding(
            name="temperature",
            state="problem",
            found=f"{found}; clocks are reduced now: {', '.join(slowed)}",
            remedy="cool the device, or take a lower power mode; see scanside bench",
        )
    return Finding(name="temperature", state="ok" if read else "absent-by-design", found=found)


def _memory(host: Host) -> Finding:
    fields = {}
    for line in read_text(host.root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if value.split()[:1] and value.split()[0].isdigit():
            fields[name] = int(value.split()[0]) * 1024
    free, total = fields.get("MemAvailable", 0), fields.get("MemTotal", 0)
    found = f"{free / _GIB:.1f} GiB available of {total / _GIB:.1f}"
    limits = list(_memory_limits(host.root))
    if limits:
        limit, used = min(limits, key=lambda pair: pair[0] - pair[1])
        found += f"; the control group allows {limit / _GIB:.1f} GiB, of which"
        found += f" {used / _GIB:.1f} are in use"
        free = min(free, limit - used)
    found += f"; swap {fields.get('SwapTotal', 0) / _GIB:.1f} GiB"
    if free < _LEAST_MEMORY:
        remedy = f"end other programs or raise the limit: {_LEAST_MEMORY / _GIB:g} GiB are wanted"
        return Finding(name="memory", state="problem", found=found, remedy=remedy)
    return Finding(name="memory", state="ok", found=found)


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use, in bytes, of every control group around this process.

    References
    ----------
    https://docs.kernel.org/admin-guide/cgroup-v2.html (``memory.max``) and
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (``memory.limit_in_bytes``).
    """
    base = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = base / "memory" if controllers else base
        limit_name, used_name = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents) if ".." not in inner.parts else (PurePosixPath(),):
            limit, used = (read_text(top / folder / name) for name in (limit_name, used_name))
            if limit.isdigit() and int(limit) < _UNLIMITED:
                yield int(limit), int(used) if used.isdigit() else 0


def _disk(host: Host, cache: Path | None) -> Finding:
    places = {"temporary folder": Path(tempfile.gettempdir())}
    if cache is not None:
        places["cache folder"] = cache
    try:
        free = {name: host.free_bytes(path) for name, path in places.items()}
    except OSError as error:
        remedy = "name folders that are there with SCANSIDE_CACHE and TMPDIR"
        return Finding(name="disk", state="problem", found=str(error), remedy=remedy)
    found = ", ".join(f"{size / _GIB:.1f} GiB free for the {name}" for name, size in free.items())
    if min(free.values()) < _LEAST_DISK:
        remedy = "free space, or name other folders with SCANSIDE_CACHE and TMPDIR"
        return Finding(name="disk", state="problem", found=found, remedy=remedy)
    return Finding(name="disk", state="ok", found=found)
