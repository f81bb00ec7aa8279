"""Run one case as a process and watch the memory of its tree."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from peerbench.protocol import STARTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Finished", "run_process", "tree_rss_kb"]

_INTERVAL: Final = 0.05
"""Seconds between looks at the tree. A process alone is measured exactly, by the kernel's own
high-water mark; the looks are for what it starts."""


class Finished(NamedTuple):
    """A process that ended well.

    Attributes
    ----------
    output
        What it printed.
    wall_seconds, cpu_seconds
        From its start to its end; of all its threads and children.
    peak_mb
        Peak resident memory of it and all it started, in MB of 1024 kB.
    """

    output: bytes
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


def run_process(command: Sequence[str | Path], environment: Mapping[str, str]) -> Finished:
    """Run a command to its end.

    Parameters
    ----------
    command
        Program and arguments.
    environment
        Variables on top of this process's.

    Raises
    ------
    SystemExit
        If it fails; the end of what it wrote to stderr is in the message.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = subprocess.Popen(
            [str(part) for part in command],
            stdout=out,
            stderr=err,
            env={**os.environ, **environment, STARTED: repr(started)},
        )
        done = threading.Event()
        peaks = [0]
        watcher = threading.Thread(target=_watch, args=(child.pid, done, peaks))
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        done.set()
        watcher.join()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            tail = err.read().decode(errors="replace")[-2000:]
            shown = " ".join(str(part) for part in command)
            raise SystemExit(f"{shown}\nended with {child.returncode}:\n{tail}")
        return Finished(
            out.read(),
            wall,
            usage.ru_utime + usage.ru_stime,
            max(usage.ru_maxrss, peaks[0]) / 1024,
        )


def _watch(pid: int, done: threading.Event, peaks: list[int]) -> None:
    while not done.wait(_INTERVAL):
        peaks[0] = max(peaks[0], tree_rss_kb(pid))


def tree_rss_kb(pid: int) -> int:
    """Return the resident memory of a process and all below it in kB; 0 for what has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")), "0")
    return int(own) + sum(tree_rss_kb(int(child)) for child in children)
