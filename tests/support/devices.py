"""Machines that are folders of text files, and libraries that are a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside.doctor.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GIB = 2**30

X86 = {
    "proc/cpuinfo": "".join(
        f"processor\t: {n}\nmodel name\t: Xeon\nflags\t: fpu avx avx2 avx512f avx512_vnni\n"
        for n in range(2)
    ),
    "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nSwapTotal: 0 kB\n",
    "sys/class/dmi/id/product_name": "Precision 3660\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave\n",
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone0/temp": "51000\n",
}
"""A workstation without a GPU."""

CARD = {
    "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
    "sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
}
"""A graphics card of NVIDIA's in it, without a driver."""

DRIVER = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64"
    "  580.95.05  Release Build  (dvs-builder@U22)\nGCC version: 13\n",
    "usr/lib/x86_64-linux-gnu/libcuda.so.1": "",
}

ORIN = {
    "proc/cpuinfo": "".join(
        f"processor\t: {n}\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\n"
        "CPU part\t: 0xd42\n\n"
        for n in range(6)
    ),
    "proc/meminfo": "MemTotal: 7802000 kB\nMemAvailable: 5202000 kB\nSwapTotal: 3901000 kB\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "etc/nvpmodel.conf": "< PARAM TYPE=FILE NAME=CPU_ONLINE >\n< POWER_MODEL ID=0 NAME=15W >\n"
    "CPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    "< PM_CONFIG DEFAULT=1 >\n",
    "var/lib/nvpmodel/status": "pmode:0001",
    "usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1": "",
    "usr/lib/aarch64-linux-gnu/libnvinfer.so.10": "",
    "usr/local/cuda/bin/nvcc": "",
    "var/lib/dpkg/status": "Package: nvidia-jetpack\nStatus: install ok installed\n"
    "Version: 6.2+b77\n\nPackage: python3-libnvinfer\nStatus: install ok installed\n"
    "Version: 10.3.0.30-1+cuda12.5\nDescription: bindings\n colons: in it\n\n"
    "Package: python3-libnvinfer-old\nStatus: deinstall ok config-files\nVersion: 8\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
}
"""An Orin Nano with JetPack 6.2."""

THOR = {
    **{name: text for name, text in ORIN.items() if "nvpmodel" not in name},
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic\n",
}
"""One with JetPack 7.0."""

ORT = Probe({"version": "1.32.0", "providers": "CPUExecutionProvider"})
COMPUTES = Probe({"precision": "fp32", "onnxruntime": "1.32.0"})


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root
