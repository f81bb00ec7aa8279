"""What the processor can do that decides how a quantised graph is derived for it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["CpuFeatures", "cpu_features"]

_CPUINFO: Final = Path("/proc/cpuinfo")
_X86: Final = {"x86_64", "amd64", "i386", "i686"}
_DOT_PRODUCTS: Final = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Flags, as Linux spells them, of instructions that add products of bytes up in 32 bits."""


class CpuFeatures(NamedTuple):
    """Features of a processor.

    Attributes
    ----------
    wide_dot_product
        Whether a dot product of bytes can't saturate. Without VNNI, x86 adds pairs of products
        up in 16 bits (``vpmaddubsw``): 255 * 127 * 2 does not fit there, 127 * 127 * 2 does.
    """

    wide_dot_product: bool


@cache
def cpu_features() -> CpuFeatures:
    """Return the features of this machine's processor."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return parse_features(platform.machine(), text)


def parse_features(machine: str, cpuinfo: str) -> CpuFeatures:
    """Return the features that Linux reports.

    Parameters
    ----------
    machine
        As `platform.machine` says it.
    cpuinfo
        What is in ``/proc/cpuinfo``; a processor that says nothing is taken to have nothing.
    """
    if machine.lower() not in _X86:
        return CpuFeatures(wide_dot_product=True)
    listed = [
        set(value.split())
        for name, _, value in (line.partition(":") for line in cpuinfo.splitlines())
        if name.strip() == "flags"
    ]
    # Of all cores: a thread may run on any.
    return CpuFeatures(bool(listed) and all(flags & _DOT_PRODUCTS for flags in listed))
