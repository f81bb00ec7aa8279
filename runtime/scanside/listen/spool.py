"""Received objects: each safely on disk, with its row, before it is acknowledged.

An object is a file whose name is made of hashes, so that no name tells of a patient, and of chance,
so that no file is ever that of an object that is deleted meanwhile. Its row comes after its file: a
file without a row was never acknowledged, and is deleted at the next start. An object that is sent
again is the same if its hash is; another one under a known SOP Instance UID replaces the former,
and its study is looked at again.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from scanside.errors import OutputError
from scanside.listen.folder import make_private_folder, sync_folder
from scanside.listen.store import RECEIVED, RESULTS, SpoolFullError
from scanside.privatefile import replace_file

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from scanside.listen.config import SpoolConfig, StudyRules
    from scanside.listen.store import Store

__all__ = ["FAILURE_PAUSE", "MOST_FAILURES", "Received", "Spool", "write_durably"]

_GB: Final = 1_000_000_000

MOST_FAILURES: Final = 5
"""After which a study is left as failed: what failed five times, minutes apart, is not passing."""

FAILURE_PAUSE: Final = 10.0
"""Seconds after the first failure; doubled after each."""


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
    rules
        When a study is looked at.
    now
        Seconds since the epoch.
    """

    def __init__(
        self, store: Store, config: SpoolConfig, rules: StudyRules, now: Callable[[], float]
    ) -> None:
        self._store: Final = store
        self._config: Final = config
        self._rules: Final = rules
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
            gone = self._enter(received, name)
        except BaseException:
            self.remove(name, len(received.content))
            raise
        if gone is None:
            return "new"
        file, size = gone
        self.remove(file, size)
        return "known" if file == name else "replaced"

    def _enter(self, received: Received, name: str) -> tuple[str, int] | None:
        """Enter an object; return the file and size of the one that is needed no longer.

        That is the one it replaces, or itself if another association has brought it meanwhile.
        """
        now = self._now()
        with self._store.transaction() as cursor:
            former = cursor.execute(
                "SELECT file, size, sha256, study_uid FROM instance WHERE sop_instance_uid = ?",
                (received.sop_instance_uid,),
            ).fetchone()
            if former is not None and former[2] == received.sha256:
                return name, len(received.content)
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
                self._changed(cursor, received.study_uid, now)
            if former is not None and former[3] not in {None, received.study_uid}:
                self._changed(cursor, former[3], now)  # it has one object less
        return None if former is None else (former[0], former[1])

    def _changed(self, cursor: sqlite3.Cursor, study_uid: str, now: float) -> None:
        """Have a study looked at again, in a while.

        One with a result, or that failed, begins anew: what comes later counts. One that comes
        without a pause is looked at by its deadline all the same.
        """
        cursor.execute(
            """
            INSERT INTO study VALUES (:uid, 'receiving', 1, :now, :now, :due, 0, NULL)
            ON CONFLICT (uid) DO UPDATE SET
                first_received = iif(state IN ('done', 'failed'), :now, first_received),
                state = iif(state = 'processing', 'processing', 'receiving'),
                revision = revision + 1, last_received = :now,
                due = iif(state IN ('done', 'failed') OR first_received + :deadline <= :now,
                          :due, min(:due, first_received + :deadline)),
                failures = 0, reason = NULL
            """,
            {
                "uid": study_uid,
                "now": now,
                "due": now + self._rules.quiet_seconds,
                "deadline": self._rules.deadline_seconds,
            },
        )

    def take(self, size: int) -> None:
        """Count bytes of a result that is about to be written.

        Results have what room the disk has: they are what makes room, once they are delivered.
        """
        with self._lock:
            self._used += size

    def reserve(self, size: int) -> None:
        """Count bytes of an object that is about to be written.

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
        self._delete(self.folder / file)
        self.release(size)

    @staticmethod
    def _delete(path: Path) -> None:
        with suppress(OSError):  # what can't be deleted now is at the next start
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the study has other objects
            path.parent.rmdir()

    def recover(self) -> int:
        """Take up what a killed process left; return the number of studies begun anew.

        A study that ends each process that looks at it, by its size or by a decoder's fault, waits
        for the others, longer each time, until it is left as failed.
        """
        with self._store.transaction() as cursor:
            cursor.execute(
                "UPDATE study SET failures = failures + 1, reason = :reason,"
                " state = iif(failures + 1 < :most, 'receiving', 'failed'),"
                " due = :now + :pause * ((1 << failures) - 1) WHERE state = 'processing'",
                {
                    "reason": "the process ended while it was looked at",
                    "most": MOST_FAILURES,
                    "now": self._now(),
                    "pause": FAILURE_PAUSE,
                },
            )
            begun = cursor.rowcount
        known = {
            row[0]
            for row in self._store.read("SELECT file FROM instance UNION SELECT file FROM object")
        }
        for name in (RECEIVED, RESULTS):
            for path in sorted((self.folder / name).rglob("*")):
                if path.relative_to(self.folder).as_posix() not in known and path.is_file():
                    self._delete(path)  # never acknowledged, or of a result that was not entered
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
        return f"{RECEIVED}/{folder}/{uid}-{secrets.token_hex(8)}.dcm"


def write_durably(path: Path, content: bytes) -> None:
    """Write a file for this user alone: whole, and on the disk, when this returns.

    Raises
    ------
    SpoolFullError
        If the disk is full.
    OutputError
        If the disk fails.
    """
    try:
        try:
            _write(path, content)
        except FileNotFoundError:
            # The folder was emptied and removed by another thread after it was made.
            _write(path, content)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (SpoolFullError if full else OutputError)(
            f"{path}: {error.strerror or error}"
        ) from error


def _write(path: Path, content: bytes) -> None:
    make_private_folder(path.parent)
    replace_file(path, content)
    sync_folder(path.parent)
