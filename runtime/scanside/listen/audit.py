"""The audit log: what the node did, one JSON object a line, without a word about a patient.

Studies are named by the first 16 digits of their UID's SHA-256, so that a line can be found again
by whoever has the UID, and says nothing to whoever has not.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Audit", "pseudonym"]

_LARGEST: Final = 16_000_000
"""Bytes of the file; then it becomes ``audit.1.jsonl``, in place of the one before."""


class Audit:
    """The open log.

    Parameters
    ----------
    folder
        Where ``audit.jsonl`` is.
    """

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / "audit.jsonl"
        self._lock: Final = threading.Lock()

    def write(self, event: str, **facts: object) -> None:
        """Add a line; on a disk that is full or fails, it goes to stderr.

        Parameters
        ----------
        event
            What happened.
        **facts
            Numbers and words that name no patient; `study`, if any, is a StudyInstanceUID.
        """
        if "study" in facts:
            facts["study"] = pseudonym(str(facts["study"]))
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = msgspec.json.encode({"time": stamp, "event": event, **facts}) + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                # The sender must get its answer, and the study its result, all the same.
                sys.stderr.write(f"scanside: {self._path}: {error.strerror}: {line.decode()}")

    def _append(self, line: bytes) -> None:
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "ab") as file:
            file.write(line)
            full = file.tell() > _LARGEST
        if full:
            self._path.replace(self._path.with_name("audit.1.jsonl"))


def pseudonym(uid: str) -> str:
    """Return what a UID is called where a UID must not be."""
    return hashlib.sha256(uid.encode()).hexdigest()[:16]
