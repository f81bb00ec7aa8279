"""What STATS tells: how many requests came, and what became of each."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

from scanside.serve import wire

__all__ = ["Counters", "resident_bytes"]


class Counters:
    """Counts that every thread adds to.

    Parameters
    ----------
    before
        The counts until a restart; none at the first start.
    """

    def __init__(self, before: dict[str, int] | None = None) -> None:
        self._lock: Final = threading.Lock()
        self._counts: Final = dict.fromkeys(wire.Stats._fields, 0) | (before or {})
        self._counts.setdefault("started_ns", time.monotonic_ns())

    def add(self, *names: str, by: int = 1) -> None:
        """Add to counts."""
        with self._lock:
            for name in names:
                self._counts[name] += by

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        """Return the counts, for a restart to go on with."""
        with self._lock:
            return dict(self._counts)

    def stats(self) -> wire.Stats:
        """Return what STATS has."""
        counts = self.snapshot()
        counts["uptime_us"] = (time.monotonic_ns() - counts.pop("started_ns")) // 1000
        counts["rss_bytes"] = resident_bytes()
        counts["in_flight"] = (
            counts["accepted"] - counts["answered"] - counts["failed"] - counts["dropped"]
        )
        return wire.Stats(**counts)


def resident_bytes() -> int:
    """Return the resident memory of this process.

    References
    ----------
    https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
