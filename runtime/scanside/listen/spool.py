"""Received objects: each safely on disk, with its row, before it is acknowledged.

An object is a file whose name is made of hashes, so that no name tells of a patient. Its row
comes after its file: a file without a row was never acknowledged, and is deleted at the next
start. An object that is sent again is the same if its hash is; another one under a known SOP
Instance UID replaces the former, and its study is looked at again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from scanside.errors import OutputError
from scanside.listen.store import make_private_folder, sync_folder
from scanside.privatefile import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.listen.config import SpoolConfig
    from scanside.listen.store import Store

__all__ = ["Received", "Spool", "SpoolFullError", "write_durably"]

_GB: Final = 1_000_000_000

RECEIVED: Final = "received"
RESULTS: Final = "results"


class SpoolFullError(OutputError):
    """There is no room: the sender is told so (A700), and sends again later."""


class Received(NamedTuple):
    """An object as it came.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid
        What it is.
    study_uid
        The study it belongs to; none for what is set aside.
    content
        A DICOM file: preamble, file meta information, data set.
    sha256
        Of the transfer syntax and the encoded data set.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str | None
    content: bytes
    sha256: str


class Spool:
    """The folder of received objects and results.

    Parameters
    ----------
    store
        The open SQLite file.
    config
        How much there may be.
    quiet_seconds
        See `scanside.listen.config.StudyRules`.
    now
        Seconds since the epoch.
    """

    def __init__(
        self, store: Store, config: SpoolConfig, quiet_seconds: float, now: Callable[[], float]
    ) -> None:
        self._store: Final = store
        self._config: Final = config
        self._quiet: Final = quiet_seconds
        self._now: Final = now
        self._lock: Final = threading.Lock()
        self.folder: Final = store.folder
        for name in (RECEIVED, RESULTS):
            make_private_folder(self.folder / name)
        self._used = self._measured()

    @property
    def used(self) -> int:
        """Bytes of received objects and results."""
        return self._used

    def accept(self, received: Received) -> Literal["new", "replaced", "known"]:
        """Keep an object durably; when this returns, it may be acknowledged.

        Raises
        ------
        SpoolFullError
            If there is no room for it.
        OutputError
            If the disk fails.
        """
        known = self._store.read(
            "SELECT sha256 FROM instance WHERE sop_instance_uid = ?", received.sop_instance_uid
        )
        if known and known[0][0] == received.sha256:
            return "known"
        self.reserve(len(received.content))
        name = self._name(received)
        try:
            write_durably(self.folder / name, received.content)
            former = self._enter(received, name)
        except BaseException:
            self.release(len(received.content))
            raise
        if former is None:
            return "new"
        file, size = former
        if file != name:
            self.remove(file, size)
        else:  # the same object on two associations at once
            self.release(size)
        return "replaced"

    def _enter(self, received: Received, name: str) -> tuple[str, int] | None:
        """Enter an object, and return the file and size of the one that it replaces."""
        now = self._now()
        with self._store.transaction() as cursor:
            former = cursor.execute(
                "SELECT file, size FROM instance WHERE sop_instance_uid = ?",
                (received.sop_instance_uid,),
            ).fetchone()
            cursor.execute(
                "INSERT OR REPLACE INTO instance VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    received.sop_instance_uid,
                    received.sop_class_uid,
                    received.study_uid,
                    name,
                    received.sha256,
                    len(received.content),
                    now,
                ),
            )
            if received.study_uid is not None:
                cursor.execute(
                    # A study with a result, or that failed, begins anew: what comes later counts.
                    """
                    INSERT INTO study VALUES (:uid, 'receiving', 1, :now, :now, :due, 0, NULL)
                    ON CONFLICT (uid) DO UPDATE SET
                        first_received = iif(state IN ('done', 'failed'), :now, first_received),
                        state = iif(state = 'processing', 'processing', 'receiving'),
                        revision = revision + 1, last_received = :now, due = :due,
                        failures = 0, reason = NULL
                    """,
                    {"uid": received.study_uid, "now": now, "due": now + self._quiet},
                )
        return None if former is None else (former[0], former[1])

    def reserve(self, size: int) -> None:
        """Count bytes that are about to be written.

        Raises
        ------
        SpoolFullError
            If there is no room for them.
        """
        free = shutil.disk_usage(self.folder).free
        with self._lock:
            if self._used + size > self._config.max_gb * _GB:
                raise SpoolFullError(
                    f"{self.folder}: {self._used / _GB:.2f} GB are kept",
                    accepted=f"at most spool.max_gb = {self._config.max_gb:g}",
                )
            if free - size < self._config.min_free_gb * _GB:
                raise SpoolFullError(
                    f"{self.folder}: {free / _GB:.2f} GB of the disk are free",
                    accepted=f"at least spool.min_free_gb = {self._config.min_free_gb:g}",
                )
            self._used += size

    def release(self, size: int) -> None:
        """Count bytes that are no longer there."""
        with self._lock:
            self._used -= size

    def remove(self, file: str, size: int) -> None:
        """Delete a file of the spool whose row is gone."""
        path = self.folder / file
        path.unlink(missing_ok=True)
        self.release(size)
        with_nothing = path.parent
        try:
            with_nothing.rmdir()
        except OSError:
            return  # the study has other objects

    def recover(self) -> int:
        """Take up what a killed process left; return the number of studies begun anew."""
        with self._store.transaction() as cursor:
            cursor.execute("UPDATE study SET state = 'receiving' WHERE state = 'processing'")
            begun = cursor.rowcount
        known = {
            row[0]
            for row in self._store.read("SELECT file FROM instance UNION SELECT file FROM object")
        }
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder) / name
                inside = path.relative_to(self.folder).as_posix()
                if "/" in inside and inside not in known:
                    path.unlink()  # never acknowledged, or of a result that was not entered
        self._used = self._measured()
        return begun

    def _measured(self) -> int:
        rows = self._store.read(
            "SELECT (SELECT total(size) FROM instance) + (SELECT total(size) FROM object)"
        )
        return int(rows[0][0])

    @staticmethod
    def _name(received: Received) -> str:
        folder = hashlib.sha256((received.study_uid or "aside").encode()).hexdigest()[:32]
        uid = hashlib.sha256(received.sop_instance_uid.encode()).hexdigest()[:32]
        return f"{RECEIVED}/{folder}/{uid}-{received.sha256[:16]}.dcm"


def write_durably(path: Path, content: bytes) -> None:
    """Write a file for this user alone: whole, and on the disk, when this returns.

    Raises
    ------
    OutputError
        If the disk fails or is full.
    """
    try:
        make_private_folder(path.parent)
        replace_file(path, content)
        sync_folder(path.parent)
    except FileNotFoundError:
        # The folder was emptied and removed by another thread after it was made.
        make_private_folder(path.parent)
        replace_file(path, content)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
