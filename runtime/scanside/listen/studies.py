"""What is to be done with each study: claimed, looked at, and finished, one transaction each."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from scanside.errors import OutputError
from scanside.listen.spool import FAILURE_PAUSE, MOST_FAILURES, write_durably
from scanside.listen.store import RESULTS
from scanside.writers.dicom.context import Predecessor

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scanside.listen.spool import Spool
    from scanside.listen.store import Store
    from scanside.writers.dicom.context import EncodedObject

__all__ = ["Claim", "Outcome", "Studies"]

Outcome = Literal["complete", "indeterminate", "incomplete"]


class Claim(NamedTuple):
    """A study that is to be looked at.

    Attributes
    ----------
    study_uid, revision
        Which, and the state of it that `files` show.
    files
        Its objects.
    last_received
        When the last of them came; seconds since the epoch.
    overdue
        Whether it must get a result now, complete or not.
    current
        The report of its current result; none where it has none.
    predecessors
        The reports that `current` supersedes.
    """

    study_uid: str
    revision: int
    files: tuple[Path, ...]
    last_received: float
    overdue: bool
    current: Predecessor | None
    predecessors: tuple[Predecessor, ...]


class Studies:
    """The studies of a spool.

    Parameters
    ----------
    store, spool
        Where they are.
    deadline_seconds
        See `scanside.listen.config.StudyRules`.
    destinations
        Names of the destinations and the kinds of objects that each gets.
    now
        Seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        deadline_seconds: float,
        destinations: dict[str, tuple[str, ...]],
        now: Callable[[], float],
    ) -> None:
        self._store: Final = store
        self._spool: Final = spool
        self._deadline: Final = deadline_seconds
        self._destinations: Final = destinations
        self._now: Final = now

    def claim(self) -> Claim | None:
        """Take the study that has been due the longest; none if none is.

        A study whose objects have all come again under another one is over; a result that it has
        stays.
        """
        now = self._now()
        with self._store.transaction() as cursor:
            files: list[tuple[str]] = []
            while not files:
                row = cursor.execute(
                    "SELECT uid, revision, first_received, last_received FROM study"
                    " WHERE state = 'receiving' AND due <= ? ORDER BY due LIMIT 1",
                    (now,),
                ).fetchone()
                if row is None:
                    return None
                uid, revision, first, last = row
                files = cursor.execute(
                    "SELECT file FROM instance WHERE study_uid = ? ORDER BY sop_instance_uid",
                    (uid,),
                ).fetchall()
                state = "processing" if files else "done"
                cursor.execute("UPDATE study SET state = ? WHERE uid = ?", (state, uid))
                if not files:
                    cursor.execute(
                        "DELETE FROM study WHERE uid = :uid"
                        " AND NOT EXISTS (SELECT 1 FROM result WHERE study_uid = :uid)",
                        {"uid": uid},
                    )
            reports = cursor.execute(
                "SELECT study_uid, series_uid, sop_class_uid, sop_instance_uid FROM object"
                " JOIN result ON result.id = result_id WHERE study_uid = ? AND kind = 'sr'"
                " ORDER BY result.id DESC LIMIT 2",
                (uid,),
            ).fetchall()
        folder = self._store.folder
        return Claim(
            study_uid=uid,
            revision=revision,
            files=tuple(folder / file for (file,) in files),
            last_received=last,
            overdue=now >= first + self._deadline,
            current=Predecessor(*reports[0]) if reports else None,
            predecessors=tuple(Predecessor(*report) for report in reports[1:]),
        )

    def put_back(self) -> None:
        """Have a study that is claimed looked at again: the disk failed when it was to be noted."""
        with self._store.transaction() as cursor:
            cursor.execute("UPDATE study SET state = 'receiving' WHERE state = 'processing'")

    def seconds_to_next(self) -> float:
        """Return the seconds until a study is due, as far as is known; infinite without any."""
        ((due,),) = self._store.read("SELECT min(due) FROM study WHERE state = 'receiving'")
        return float("inf") if due is None else max(0.0, float(due) - self._now())

    def wait(self, claim: Claim, reason: str) -> None:
        """Look at an incomplete study again when something comes, or at its deadline."""
        with self._store.transaction() as cursor:
            cursor.execute(
                # What came meanwhile has set `due` itself.
                "UPDATE study SET state = 'receiving', reason = :reason, due ="
                " iif(revision = :revision, first_received + :deadline, due) WHERE uid = :uid",
                {
                    "reason": reason,
                    "revision": claim.revision,
                    "deadline": self._deadline,
                    "uid": claim.study_uid,
                },
            )

    def fail(self, claim: Claim, reason: str) -> bool:
        """Try a study again later, or leave it as failed; return whether it is left."""
        with self._store.transaction() as cursor:
            (failures,) = cursor.execute(
                "SELECT failures + 1 FROM study WHERE uid = ?", (claim.study_uid,)
            ).fetchone()
            left = failures >= MOST_FAILURES
            cursor.execute(
                "UPDATE study SET state = ?, failures = ?, reason = ?, due = ? WHERE uid = ?",
                (
                    "failed" if left else "receiving",
                    failures,
                    reason,
                    self._now() + FAILURE_PAUSE * 2 ** (failures - 1),
                    claim.study_uid,
                ),
            )
        return bool(left)

    def finish(self, claim: Claim, outcome: Outcome, objects: Sequence[EncodedObject]) -> bool:
        """Keep a study's result and put it into the outbox.

        Parameters
        ----------
        claim
            The study.
        outcome
            What it came to.
        objects
            Its encoded objects, at least one. The report is sent last, when what it refers to
            is there.

        Returns
        -------
        bool
            False if the result is the one that the study has already: nothing is sent again.

        Raises
        ------
        SpoolFullError
            If the disk is full.
        OutputError
            If the disk fails.
        """
        fresh = not self._known(objects)
        kept: list[tuple[EncodedObject, str]] = []
        try:
            for encoded in objects if fresh else ():
                file = self._keep(claim, encoded)
                kept.append((encoded, file))
            self._finish(claim, outcome, kept)
        except Exception:
            # A commit may have failed when all was written; what that read can't tell is counted,
            # and deleted, at the next start.
            with suppress(OutputError):
                if not self._known(objects):
                    for encoded, file in kept:
                        self._spool.remove(file, len(encoded.content))
            raise
        return fresh

    def _finish(
        self, claim: Claim, outcome: Outcome, kept: Sequence[tuple[EncodedObject, str]]
    ) -> None:
        now = self._now()
        with self._store.transaction() as cursor:
            if kept:
                result = self._enter(cursor, claim, outcome, now)
                for encoded, file in sorted(kept, key=lambda pair: pair[0].kind == "sr"):
                    self._post(cursor, result, encoded, file, now)
            cursor.execute(
                "UPDATE study SET failures = 0, reason = NULL,"
                " state = iif(revision = :revision, 'done', 'receiving'),"
                " first_received = iif(revision = :revision, first_received, last_received)"
                " WHERE uid = :uid",
                {"revision": claim.revision, "uid": claim.study_uid},
            )

    def _known(self, objects: Sequence[EncodedObject]) -> bool:
        """Whether a result is there already: its UIDs are made of all that it depends on."""
        return bool(
            self._store.read(
                "SELECT 1 FROM object WHERE sop_instance_uid = ?", objects[0].sop_instance_uid
            )
        )

    def _keep(self, claim: Claim, encoded: EncodedObject) -> str:
        folder = hashlib.sha256(claim.study_uid.encode()).hexdigest()[:32]
        uid = hashlib.sha256(encoded.sop_instance_uid.encode()).hexdigest()[:32]
        name = f"{RESULTS}/{folder}/{uid}.dcm"
        self._spool.take(len(encoded.content))
        try:
            write_durably(self._store.folder / name, encoded.content)
        except BaseException:
            self._spool.release(len(encoded.content))
            raise
        return name

    @staticmethod
    def _enter(cursor: sqlite3.Cursor, claim: Claim, outcome: Outcome, now: float) -> int:
        cursor.execute("UPDATE result SET is_current = 0 WHERE study_uid = ?", (claim.study_uid,))
        cursor.execute(
            "INSERT INTO result VALUES (NULL, ?, ?, ?, ?, ?, 1)",
            (claim.study_uid, claim.revision, outcome, claim.last_received, now),
        )
        return int(cursor.lastrowid or 0)

    def _post(
        self, cursor: sqlite3.Cursor, result: int, encoded: EncodedObject, file: str, now: float
    ) -> None:
        cursor.execute(
            "INSERT INTO object VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                result,
                encoded.kind,
                encoded.series_instance_uid,
                encoded.sop_class_uid,
                encoded.sop_instance_uid,
                file,
                hashlib.sha256(encoded.content).hexdigest(),
                len(encoded.content),
            ),
        )
        for destination, kinds in self._destinations.items():
            if encoded.kind in kinds:
                cursor.execute(
                    "INSERT INTO delivery VALUES (?, ?, 'pending', 0, ?, NULL, NULL)",
                    (cursor.lastrowid, destination, now),
                )
