"""GPU, driver, JetPack, TensorRT and PyCUDA: what a backend on an NVIDIA GPU needs.

Whether any of it is wanted depends on whether this version of scanside has such a backend: as
long as it has none nothing here is missing, and what is installed all the same is told.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from scanside.bench.environment import read_text
from scanside.doctor.findings import Finding
from scanside.doctor.platforms import packages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from scanside.doctor.findings import State
    from scanside.doctor.host import Host
    from scanside.doctor.platforms import Platform

__all__ = ["GPU_BACKENDS", "gpu_findings"]

GPU_BACKENDS: Final = ("tensorrt", "ort-trt", "cuda")
"""Names of backends that compute on an NVIDIA GPU, in this version or in others."""

_QUERY: Final = (
    "nvidia-smi",
    "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit,persistence_mode",
    "--format=csv,noheader",
)
_QUERIED: Final = 6

_LIBRARY_FOLDERS: Final = (
    "usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/local/tensorrt/lib",
    "usr/lib/aarch64-linux-gnu/nvidia", "usr/lib/aarch64-linux-gnu/tegra", "usr/lib/wsl/lib",
    "usr/lib64", "usr/lib",
)  # fmt: skip
"""Where Debian, JetPack, NVIDIA's tar file, WSL, Fedora and Arch put their libraries."""

_VENV: Final = "python3 -m venv --system-site-packages .venv && .venv/bin/pip install"
_DISTRIBUTIONS: Final = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11")
"""Under which names TensorRT is distributed, for which CUDA."""


def gpu_findings(host: Host, platform: Platform, backends: Collection[str]) -> Iterator[Finding]:
    """Yield what there is to say of GPU, driver, TensorRT and PyCUDA.

    Parameters
    ----------
    host
        The machine.
    platform
        Its kind.
    backends
        Names of the backends that this version of scanside has.
    """
    wanted = sorted(set(GPU_BACKENDS) & set(backends))
    yield _backends(platform, wanted)
    if platform.kind == "cpu":
        for name in ("driver", "tensorrt", "pycuda"):
            yield Finding(name=name, state="absent-by-design", found="no NVIDIA GPU: not needed")
        return
    if platform.kind == "jetson":
        yield _jetpack(host, platform)
    yield _driver(host, platform, wanted=bool(wanted))
    if platform.kind == "gpu":
        yield from _cards(host)
    yield _tensorrt(host, platform, wanted="tensorrt" in wanted or "ort-trt" in wanted)
    yield _pycuda(host, platform, wanted="tensorrt" in wanted)


def _backends(platform: Platform, wanted: list[str]) -> Finding:
    if wanted:
        state: State = "absent-by-design" if platform.kind == "cpu" else "ok"
        return Finding(name="gpu backends", state=state, found=", ".join(wanted))
    found = "none in this version: it computes on the CPU, on machines with a GPU too"
    return Finding(name="gpu backends", state="absent-by-design", found=found)


def _jetpack(host: Host, platform: Platform) -> Finding:
    release = platform.jetpack
    if not platform.l4t:
        return Finding(
            name="jetpack",
            state="problem",
            found="unknown: there is no readable /etc/nv_tegra_release",
            remedy="in a container: docker run -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro",
        )
    if platform.too_old:
        return Finding(
            name="jetpack",
            state="problem",
            found=f"L4T {platform.l4t}: its system has Python 3.8 or older; accepted: JetPack 6, 7",
            remedy="flash JetPack 6 or 7 with NVIDIA's SDK Manager (Orin and later)",
        )
    if release is None:
        found = f"L4T {platform.l4t}: a release that this version of scanside does not know"
        return Finding(name="jetpack", state="ok", found=found)
    found = (
        f"{release.name} (L4T {platform.l4t}), which comes with Python {release.python},"
        f" CUDA {release.cuda}, TensorRT {release.tensorrt}"
    )
    meta = packages(host.root, "nvidia-jetpack").get("nvidia-jetpack")
    if meta:
        found += f"; nvidia-jetpack {meta} is installed"
    if host.python.short != release.python:
        return Finding(
            name="jetpack",
            state="problem",
            found=f"{found}; this is Python {host.python.short}, which can't load its TensorRT",
            remedy=f"python{release.python} -m venv --clear --system-site-packages .venv",
        )
    return Finding(name="jetpack", state="ok", found=found)


def _driver(host: Host, platform: Platform, *, wanted: bool) -> Finding:
    version = re.search(
        r"(?:Kernel Module|for \S+)\s+(?:for \S+\s+)?(\d+\.\d[\d.]*)",
        read_text(host.root / "proc/driver/nvidia/version"),
    )
    library = _library(host.root, "libcuda.so.1")
    if library is not None:
        found = f"{version[1]}; {library}" if version else str(library)
        return Finding(name="driver", state="ok", found=found)
    if platform.kind == "jetson":
        remedy = "sudo apt update && sudo apt install nvidia-l4t-cuda, and reboot; in a container:"
        return Finding(
            name="driver",
            state="missing",
            found="libcuda.so.1 is not there",
            remedy=f"{remedy} docker run --runtime nvidia",
        )
    if version:
        return Finding(
            name="driver",
            state="problem",
            found=f"{version[1]} is loaded, and its libcuda.so.1 is not there",
            remedy="in a container: docker run --gpus all; else: sudo apt install libnvidia-compute"
            f"-{version[1].split('.')[0]}",
        )
    return _absent(
        "driver",
        "a GPU, and no driver of NVIDIA's for it",
        "Ubuntu: sudo ubuntu-drivers install; Debian: sudo apt install nvidia-driver; then reboot",
        wanted=wanted,
    )


def _cards(host: Host) -> Iterator[Finding]:
    """Yield a GPU each, as the driver's own tool tells of them."""
    for line in host.run(_QUERY).strip().splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != _QUERIED:
            continue
        name, driver, memory, clock, power, persistence = values
        found = f"{name}: {memory}, driver {driver}, up to {clock}, power limit {power}"
        remedy = ""
        if persistence == "Disabled":
            found += ", persistence mode off"
            remedy = "before a benchmark: sudo nvidia-smi -pm 1"
        yield Finding(name="gpu", state="ok", found=found, remedy=remedy)


def _tensorrt(host: Host, platform: Platform, *, wanted: bool) -> Finding:
    installed = [f"{n} {v}" for n in _DISTRIBUTIONS if (v := host.version(n)) is not None]
    on_jetson = platform.kind == "jetson"
    if host.located("tensorrt"):
        tried = host.probe("tensorrt")
        if not tried.error:
            return Finding(name="tensorrt", state="ok", found=tried.facts["version"])
        return Finding(
            name="tensorrt",
            state="problem",
            found=f"{', '.join(installed) or 'installed'}, and can't be imported: {tried.error}",
            remedy=f"pip install --force-reinstall {installed[0].split()[0]}"
            if installed and not on_jetson
            else "sudo apt install --reinstall python3-libnvinfer libnvinfer-bin",
        )
    system = packages(host.root, "python3-libnvinfer").get("python3-libnvinfer")
    if system:
        return Finding(
            name="tensorrt",
            state="problem",
            found=f"{system} is installed in the system, and {host.python.prefix} doesn't see it",
            remedy=f"{_VENV} 'scanside[{'cpu,jetson' if on_jetson else 'gpu'}]'",
        )
    library = _library(host.root, "libnvinfer.so")
    found = f"no Python package ({library} is there)" if library else "not installed"
    remedy = (
        "sudo apt update && sudo apt install nvidia-jetpack"
        if on_jetson
        else "in an environment of its own: pip install 'scanside[gpu]'"
    )
    return _absent("tensorrt", found, remedy, wanted=wanted)


def _pycuda(host: Host, platform: Platform, *, wanted: bool) -> Finding:
    if host.located("pycuda"):
        tried = host.probe("pycuda")
        if not tried.error:
            found = f"{tried.facts['version']}, CUDA {tried.facts['driver']} by the driver"
            devices = tried.facts["devices"]
            if devices:
                return Finding(name="pycuda", state="ok", found=f"{found}; {devices}")
            return Finding(
                name="pycuda",
                state="problem",
                found=f"{found}; it sees no device",
                remedy='sudo usermod -aG video,render "$USER", and log in again; in a container:'
                f" docker run {'--runtime nvidia' if platform.kind == 'jetson' else '--gpus all'}",
            )
        remedy = "pip install --force-reinstall --no-cache-dir --no-binary :all: pycuda"
        if "libcuda" in tried.error:
            remedy = "mend the driver first (above)"
        return Finding(
            name="pycuda",
            state="problem",
            found=f"{host.version('pycuda') or 'installed'}, and fails: {tried.error}",
            remedy=remedy,
        )
    compiler = _compiler(host.root)
    found = "not installed"
    if compiler is None:
        found += "; nor is CUDA's compiler, which pip needs to build it"
    first = (
        "sudo apt install nvidia-jetpack && " if platform.kind == "jetson" else
        "sudo apt install nvidia-cuda-toolkit && "
    ) if compiler is None else ""  # fmt: skip
    remedy = f"{first}PATH=/usr/local/cuda/bin:$PATH pip install pycuda"
    return _absent("pycuda", found, remedy, wanted=wanted)


def _absent(name: str, found: str, remedy: str, *, wanted: bool) -> Finding:
    if wanted:
        return Finding(name=name, state="missing", found=found, remedy=remedy)
    found += "; no backend of this version uses it"
    return Finding(name=name, state="absent-by-design", found=found)


def _compiler(root: Path) -> Path | None:
    places = ("usr/local/cuda/bin/nvcc", "usr/bin/nvcc")
    return next((root / place for place in places if (root / place).exists()), None)


def _library(root: Path, name: str) -> Path | None:
    """Return where a library is, as the machine itself names the path."""
    for folder in _LIBRARY_FOLDERS:
        for file in sorted((root / folder).glob(f"{name}*")):
            return "/" / file.relative_to(root)
    return None
