"""Published peaks of the Jetson modules, by power mode.

References
----------
NVIDIA Jetson AGX Orin Series Technical Brief (TB-10749-001): multiprocessors, clocks, memory.
170 sparse INT8 TOPS on 16 multiprocessors at 1.3 GHz are 2,048 dense multiply-accumulates a clock
and multiprocessor; Orin Nano (40 on 8 at 625 MHz; 67 at 1.02 GHz) and Orin NX (60 on 8 at
918 MHz) give the same number.
NVIDIA's power models as they lie in ``/etc/nvpmodel``: ``nvpmodel_p3701_0000.conf`` (AGX Orin
64 GB), ``nvpmodel_p3767_0000.conf`` and ``..._0000_super.conf`` (Orin NX 16 GB),
``nvpmodel_p3767_0003.conf`` and ``..._0003_super.conf`` (Orin Nano 8 GB), read in the copies of
github.com/LineageOS/android_device_nvidia_concord, commits 640733e, 370b63a and 0a7ce0b: TPCs
(``TPC_PG_MASK`` names those that are off), clocks of GPU and memory.
MAXN and MAXN_SUPER cap nothing there: their clocks are the largest ones of the brief, and
1.173 GHz and 29 W of a measured Orin NX (github.com/ARK-Electronics/ark_jetson_kernel,
docs/power.md). The memory's is that of the 25 W mode of Orin Nano, 3,199 MHz, as the brief has it.
RidgeRun, "NVIDIA Jetson AGX Thor: SoM Overview", after NVIDIA's data sheet: 10 TPCs, 1.575 GHz,
273 GB/s, 1,035 sparse FP8 TFLOPS. 130 W: NVIDIA's forum, "Queries regarding power consumption of
Thor T5000 module".
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["AGX_ORIN", "DEVICES", "ORIN_NX", "Device"]

_ORIN_MACS: Final = 2048
"""Dense INT8 multiply-accumulates a clock and multiprocessor (Ampere, sm_87)."""

_THOR_MACS: Final = 8192
"""The same of Thor, from 1,035 sparse FP8 TFLOPS: that INT8 is as fast is an assumption."""

_MHZ: Final = 1e6
_LPDDR5: Final = {128: 32, 256: 64}
"""Bytes that a bus of so many bits moves in a clock: two transfers."""


class Device(NamedTuple):
    """A module in a power mode.

    Attributes
    ----------
    name, mode
        Of the module, and of ``nvpmodel``.
    multiprocessors, clock
        Of the GPU, and its largest clock in MHz.
    macs
        Dense INT8 multiply-accumulates a clock and multiprocessor; FP16 has half as many.
    bandwidth
        Of the memory, in bytes a second.
    watts
        What the whole module may draw in this mode.
    """

    name: str
    mode: str
    multiprocessors: int
    clock: float
    macs: int
    bandwidth: float
    watts: float

    @property
    def peak(self) -> float:
        """INT8 multiply-accumulates a second."""
        return self.multiprocessors * self.clock * _MHZ * self.macs


def _orin(
    name: str, mode: str, tpcs: int, clock: float, bus: int, memory: float, watts: float
) -> Device:
    """Return a module of Orin's: a TPC is two multiprocessors, the memory's clock is in MHz."""
    bandwidth = _LPDDR5[bus] * memory * _MHZ
    return Device(name, mode, 2 * tpcs, clock, _ORIN_MACS, bandwidth, watts)


ORIN_NX: Final = _orin("Orin NX 16 GB", "MAXN", 4, 918, 128, 3199, 25)
AGX_ORIN: Final = _orin("AGX Orin 64 GB", "MAXN", 8, 1301, 256, 3199, 60)
"""60 W: NVIDIA's forum, "Maximum power consumption bounds for Orin AGX", after the data sheet."""

DEVICES: Final = (
    _orin("Orin Nano 8 GB", "7W", 2, 408, 128, 2133, 7),
    _orin("Orin Nano 8 GB", "15W", 4, 612, 128, 2133, 15),
    _orin("Orin Nano 8 GB", "25W", 4, 918, 128, 3199, 25),
    _orin("Orin Nano 8 GB", "MAXN_SUPER", 4, 1020, 128, 3199, 25),
    _orin("Orin NX 16 GB", "10W", 2, 612, 128, 2133, 10),
    _orin("Orin NX 16 GB", "15W", 2, 612, 128, 3199, 15),
    _orin("Orin NX 16 GB", "25W", 4, 408, 128, 3199, 25),
    ORIN_NX,
    _orin("Orin NX 16 GB", "40W", 4, 1173, 128, 3199, 40),
    _orin("AGX Orin 64 GB", "15W", 3, 408, 256, 2133, 15),
    _orin("AGX Orin 64 GB", "30W", 4, 612, 256, 3199, 30),
    _orin("AGX Orin 64 GB", "50W", 8, 816, 256, 3199, 50),
    AGX_ORIN,
    Device("AGX Thor T5000", "MAXN", 20, 1575, _THOR_MACS, 273e9, 130),
)
