"""The node's SQLite file: one connection, one writer at a time, durable at every commit."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from scanside.errors import OutputError
from scanside.listen.folder import check_private, claimed, make_private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "RECEIVED",
    "RESULTS",
    "SCHEMA_VERSION",
    "SpoolFullError",
    "Store",
    "read_only",
    "revive",
]

SCHEMA_VERSION: Final = 1

RECEIVED: Final = "received"
RESULTS: Final = "results"

_SCHEMA: Final = """
CREATE TABLE instance (
    sop_instance_uid TEXT PRIMARY KEY,
    sop_class_uid TEXT NOT NULL,
    study_uid TEXT,                   -- NULL: set aside, of no study that is analysed
    file TEXT NOT NULL,               -- relative to the spool
    sha256 TEXT NOT NULL,             -- of the encoded data set with its transfer syntax
    size INTEGER NOT NULL,
    received REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX instance_study ON instance (study_uid);
CREATE TABLE study (
    uid TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('receiving', 'processing', 'done', 'failed')),
    revision INTEGER NOT NULL,        -- grows with every instance that is new or another
    first_received REAL NOT NULL,     -- of what no result covers yet
    last_received REAL NOT NULL,
    due REAL NOT NULL,                -- when it is looked at next
    failures INTEGER NOT NULL DEFAULT 0,
    reason TEXT
) WITHOUT ROWID;
CREATE INDEX study_due ON study (state, due);
CREATE TABLE result (
    id INTEGER PRIMARY KEY,
    study_uid TEXT NOT NULL,
    revision INTEGER NOT NULL,
    outcome TEXT NOT NULL,            -- complete, indeterminate, incomplete
    last_received REAL NOT NULL,
    created REAL NOT NULL,
    is_current INTEGER NOT NULL
);
CREATE UNIQUE INDEX result_current ON result (study_uid) WHERE is_current;
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    result_id INTEGER NOT NULL REFERENCES result (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,               -- sr, seg, capture
    series_uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL UNIQUE,
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL
);
CREATE INDEX object_result ON object (result_id);
CREATE TABLE delivery (
    object_id INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    refusals INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    delivered REAL,
    reason TEXT,
    PRIMARY KEY (object_id, destination)
) WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (destination, state, due);
"""


class SpoolFullError(OutputError):
    """There is no room: the sender is told so (A700), and sends again later."""


class Store:
    """The open file.

    Parameters
    ----------
    folder
        The spool; made if it is not there.

    Raises
    ------
    OutputError
        If the folder can't be used, if another node has it, or if its schema is another version's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self._lock: Final = threading.RLock()
        make_private_folder(folder)
        try:
            check_private(folder)
            with ExitStack() as undo:
                undo.callback(os.close, claimed(folder))
                self._connection = undo.enter_context(closing(_opened(folder)))
                self._prepare()
                self._open = undo.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"{folder}: the spool can't be used: {error}", remedy="name another spool.folder"
            ) from error

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on the disk, not only with the kernel, before an object is acknowledged.
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA foreign_keys = ON")
        (version,) = execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._check_new()
            with self.transaction() as cursor:
                for statement in _SCHEMA.split(";\n"):
                    if statement.strip():
                        cursor.execute(statement)
                cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        else:
            _check_schema(self.folder, version)

    def _check_new(self) -> None:
        for name in (RECEIVED, RESULTS):
            if any((self.folder / name).glob("*/*")):
                raise OutputError(
                    f"{self.folder / name}: objects without the database that knows them",
                    remedy="put spool.sqlite back, or move this folder away",
                )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Give a cursor; all or nothing of what is done with it is there afterwards, durably.

        Raises
        ------
        SpoolFullError
            If the disk is full.
        OutputError
            If the disk fails.
        """
        with self._lock, _told(self.folder):
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it
                    cursor.execute("ROLLBACK")
                raise
            finally:
                cursor.close()

    def read(self, query: str, *values: object, **named: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, with values for its ``?`` or for its ``:name``.

        Raises
        ------
        OutputError
            If the disk fails.
        """
        with self._lock, _told(self.folder):
            return self._connection.execute(query, named or values).fetchall()

    def close(self) -> None:
        """Close the file; nothing can be done with it afterwards."""
        with self._lock:
            self._open.close()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # a defect of scanside
    except sqlite3.DatabaseError as error:
        # Python 3.10 has the message alone.
        kind = SpoolFullError if "is full" in str(error) else OutputError
        raise kind(f"{folder / 'spool.sqlite'}: {error}") from error


def _check_schema(folder: Path, version: int) -> None:
    if version != SCHEMA_VERSION:
        raise OutputError(
            f"{folder}: the spool is of schema {version}",
            accepted=f"schema {SCHEMA_VERSION}",
            remedy="finish its work with the version of scanside that made it",
        )


@contextmanager
def read_only(folder: Path) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Open a spool beside the node that has it, for its state alone.

    Yields
    ------
    callable
        Returns the rows of a query.

    Raises
    ------
    OutputError
        If there is no spool, if its schema is another version's, or if it can't be read.
    """
    with _beside(folder, mode="ro") as connection:
        yield lambda query: connection.execute(query).fetchall()


@contextmanager
def _beside(folder: Path, *, mode: Literal["ro", "rw"]) -> Iterator[sqlite3.Connection]:
    file = folder / "spool.sqlite"
    if not file.is_file():
        raise OutputError(
            f"{folder}: there is no spool", remedy="start the node: scanside listen --config FILE"
        )
    uri = f"{file.absolute().as_uri()}?mode={mode}"
    with _told(folder), closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
        _check_schema(folder, *connection.execute("PRAGMA user_version").fetchone())
        yield connection


def revive(folder: Path, now: float) -> tuple[int, int]:
    """Have everything tried again that was given up; a node may be running beside it.

    Parameters
    ----------
    folder
        The spool.
    now
        Seconds since the epoch.

    Returns
    -------
    tuple of int
        Numbers of objects that are delivered again, and of studies that are looked at again.

    Raises
    ------
    OutputError
        As for `read_only`.
    """
    with _beside(folder, mode="rw") as connection, connection:
        objects = connection.execute(
            "UPDATE delivery SET state = 'pending', refusals = 0, due = ? WHERE state = 'dead'",
            (now,),
        ).rowcount
        studies = connection.execute(
            "UPDATE study SET state = 'receiving', failures = 0, due = ? WHERE state = 'failed'",
            (now,),
        ).rowcount
    return objects, studies


def _opened(folder: Path) -> sqlite3.Connection:
    # SQLite would make it by the umask, and gives its companions the same mode.
    file = folder / "spool.sqlite"
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return sqlite3.connect(file, check_same_thread=False, isolation_level=None)
