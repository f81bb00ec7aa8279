"""What a case is told and what it says: a JSON file in, JSON lines out.

A case is a process. It gets one `Job`, analyses its first slice, warms up, streams all slices
with their files written, then measures single slices in memory, and prints a line for each of
these as it is done.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

__all__ = ["STARTED", "Job", "emit", "parse_lines", "read_job", "since_start", "write_job"]

STARTED: Final = "PEERBENCH_STARTED"
"""Environment variable: the monotonic clock, common to all processes, at the case's start."""


class Job(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a case is to do.

    Attributes
    ----------
    files
        The slices, in order.
    output
        Folder for masks, overlays and records; the case makes it.
    classifier, segmenter
        The model files.
    gate, mask
        The bundle's thresholds.
    warm_up
        Which of `files` are analysed before anything is measured.
    latency
        Which of `files` are analysed one by one in memory, in this order; may repeat.
    options
        What else the case knows, by name.
    """

    files: tuple[str, ...]
    output: str
    classifier: str
    segmenter: str
    gate: float
    mask: float
    warm_up: tuple[int, ...]
    latency: tuple[int, ...] = ()
    options: dict[str, str] = {}


def write_job(path: Path, job: Job) -> None:
    """Write a job for a case."""
    path.write_bytes(msgspec.json.encode(job))


def read_job() -> Job:
    """Read the job that the command line names."""
    return msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)


def since_start() -> float:
    """Return the seconds since this process was started, its interpreter's start included."""
    return time.monotonic() - float(os.environ[STARTED])


def emit(kind: str, **figures: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Print one line."""
    sys.stdout.buffer.write(msgspec.json.encode({"type": kind, **figures}) + b"\n")
    sys.stdout.buffer.flush()


def parse_lines(output: bytes) -> dict[str, dict[str, Any]]:
    """Return a case's lines by their type.

    Parameters
    ----------
    output
        What it printed. Lines that are no JSON objects with a type are what a library said.

    Raises
    ------
    ValueError
        If two lines have one type.
    """
    found: dict[str, dict[str, Any]] = {}
    for line in output.splitlines():
        try:
            figures = msgspec.json.decode(line, type=dict[str, Any])
            kind = figures.pop("type")
        except (msgspec.DecodeError, KeyError):
            continue
        if kind in found:
            raise ValueError(f"the case printed two lines of the type {kind!r}")
        found[kind] = figures
    return found
