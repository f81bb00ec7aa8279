"""The outbox: what is to be delivered, until it is; the same bytes each time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.listen.config import Retry
    from scanside.listen.store import Store

__all__ = ["Outbox", "Parcel", "pause_after"]


class Parcel(NamedTuple):
    """An object that is to be sent to a destination.

    Attributes
    ----------
    object_id
        Its number.
    sop_class_uid, sop_instance_uid
        What it is.
    path, sha256
        Its file, and the file's hash.
    refusals
        How often the destination has refused it.
    """

    object_id: int
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str
    refusals: int

    def content(self) -> bytes:
        """Return the file as it was written.

        Raises
        ------
        OutputError
            If it is damaged or gone.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise OutputError(f"{self.path} is damaged: its sha256 is not the one that was written")
        return content


class Outbox:
    """The deliveries of a spool.

    Parameters
    ----------
    store
        Where they are.
    retry
        How they are tried again.
    now
        Seconds since the epoch.
    """

    def __init__(self, store: Store, retry: Retry, now: Callable[[], float]) -> None:
        self._store: Final = store
        self._retry: Final = retry
        self._now: Final = now

    def due(self, destination: str, most: int) -> list[Parcel]:
        """Return what is to be sent now, what was put off the longest ago first.

        Parameters
        ----------
        destination
            Its name.
        most
            Number of parcels.
        """
        rows = self._store.read(
            "SELECT object_id, sop_class_uid, sop_instance_uid, file, sha256, refusals"
            " FROM delivery JOIN object ON object.id = object_id"
            " WHERE destination = ? AND delivery.state = 'pending' AND due <= ?"
            " ORDER BY due, object_id LIMIT ?",
            destination, self._now(), most,
        )  # fmt: skip
        folder = self._store.folder
        return [
            Parcel(number, sop_class, sop_instance, folder / file, sha256, refusals)
            for number, sop_class, sop_instance, file, sha256, refusals in rows
        ]

    def delivered(self, parcel: Parcel, destination: str) -> float | None:
        """Note that the destination has accepted it.

        Returns
        -------
        float or None
            Seconds from the last object of its study to now, if it is the first of its result
            that anybody has accepted.
        """
        rows = self._store.read(
            "SELECT (SELECT count(*) FROM object JOIN delivery ON object_id = object.id"
            "  WHERE result_id = result.id AND delivery.state = 'delivered'), last_received"
            " FROM result WHERE id = (SELECT result_id FROM object WHERE id = ?)",
            parcel.object_id,
        )
        self._change(
            "state = 'delivered', delivered = :now, reason = NULL", parcel, destination, {}
        )
        if not rows or rows[0][0]:  # it was purged meanwhile, as told; or is not the first
            return None
        return self._now() - float(rows[0][1])

    def postpone(
        self, destination: str, failures: int, reason: str, behind: Parcel | None = None
    ) -> int:
        """Try all of it again later: the destination could not be reached, or has no room.

        Parameters
        ----------
        destination
            Its name.
        failures
            Number of failures in a row of the destination, at least 1.
        reason
            Why.
        behind
            What it had no room for: tried after the others, which may be smaller.

        Returns
        -------
        int
            Number of objects.
        """
        due = self._now() + pause_after(failures, self._retry)
        with self._store.transaction() as cursor:
            cursor.execute(
                "UPDATE delivery SET reason = :reason,"
                " due = iif(object_id = :behind, :due + 0.001, :due)"
                " WHERE destination = :destination AND state = 'pending' AND due <= :due",
                {
                    "reason": reason,
                    "behind": None if behind is None else behind.object_id,
                    "due": due,
                    "destination": destination,
                },
            )
            return int(cursor.rowcount)

    def refuse(self, parcel: Parcel, destination: str, reason: str) -> bool:
        """Note that the destination has refused it; return whether it is dead now."""
        refusals = parcel.refusals + 1
        dead = refusals >= self._retry.attempts
        due = self._now() + pause_after(refusals, self._retry)
        self._change(
            "state = :state, refusals = :refusals, due = :due, reason = :reason",
            parcel,
            destination,
            {
                "due": due,
                "reason": reason,
                "state": "dead" if dead else "pending",
                "refusals": refusals,
            },
        )
        return dead

    def _change(
        self, what: str, parcel: Parcel, destination: str, values: dict[str, object]
    ) -> None:
        with self._store.transaction() as cursor:
            cursor.execute(
                f"UPDATE delivery SET {what}"  # noqa: S608 - `what` is one of the texts above
                " WHERE object_id = :object AND destination = :destination",
                {
                    **values,
                    "now": self._now(),
                    "object": parcel.object_id,
                    "destination": destination,
                },
            )


def pause_after(failures: int, retry: Retry) -> float:
    """Return the seconds to the next try.

    Parameters
    ----------
    failures
        Number of failures so far, at least 1.
    retry
        The first and the longest pause.
    """
    doublings = min(failures - 1, 32)  # beyond it every pause is the longest one
    return float(min(retry.longest_seconds, retry.first_seconds * 2**doublings))
