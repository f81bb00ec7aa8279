"""Which processor this is: for what is kept between runs and holds for one processor only."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["processor"]

_CPUINFO: Final = Path("/proc/cpuinfo")
_FIELDS: Final = {
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "cpu implementer", "cpu architecture", "cpu variant", "cpu part", "cpu revision", "features",
}  # fmt: skip
"""What tells processors and their instruction sets apart, on x86 and on ARM; no clock rates."""


@cache
def processor() -> str:
    """Return the architecture, the model's name where it is known, and a hash of all features."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    rows = {
        (name.strip().lower(), value.strip())
        for name, _, value in (line.partition(":") for line in text.splitlines())
        if name.strip().lower() in _FIELDS
    }
    names = sorted(value for name, value in rows if name == "model name")
    digest = hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()[:16]
    return " ".join([platform.machine(), *names, digest])
