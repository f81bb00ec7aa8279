"""Delete what is finished and old enough; what is not yet delivered is not, unless told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.listen.config import Purge
    from scanside.listen.spool import Spool
    from scanside.listen.store import Store

__all__ = ["purge"]

_DELIVERED: Final = """
state = 'done' AND last_received < :before
  AND NOT EXISTS (
    SELECT 1 FROM result JOIN object ON object.result_id = result.id
      JOIN delivery ON delivery.object_id = object.id
    WHERE result.study_uid = uid
      AND (delivery.state != 'delivered' OR delivery.delivered >= :before))
"""
"""Studies with a result of all that came, each object of it accepted, before a time."""

_LEFT: Final = "state IN ('done', 'failed') AND last_received < :before"
"""Studies that are over, delivered or not."""


def purge(
    store: Store, spool: Spool, policy: Purge, max_bytes: float, now: Callable[[], float]
) -> int:
    """Delete finished studies, with their results, and what was set aside.

    Parameters
    ----------
    store, spool
        Where they are.
    policy
        How long they are kept.
    max_bytes
        How much the spool may hold.
    now
        Seconds since the epoch.

    Returns
    -------
    int
        Number of objects deleted, received ones and results.
    """
    time = now()
    gone = _delete_studies(store, spool, _DELIVERED, time - policy.keep_hours * 3600)
    if policy.undelivered_hours is not None:
        gone += _delete_studies(store, spool, _LEFT, time - policy.undelivered_hours * 3600)
    gone += _delete_aside(store, spool, time - policy.aside_hours * 3600)
    return gone + _delete_studies(
        store, spool, _DELIVERED, time, down_to=policy.keep_fraction * max_bytes
    )


def _delete_studies(
    store: Store, spool: Spool, which: str, before: float, down_to: float = -1.0
) -> int:
    """Delete such studies, the oldest first, one transaction each, until so many bytes are left."""
    gone = 0
    for (uid,) in store.read(
        f"SELECT uid FROM study WHERE {which} ORDER BY last_received",  # noqa: S608 - from above
        before=before,
    ):
        if spool.used <= down_to:
            break
        gone += _delete(store, spool, which, before, uid)
    return gone


def _delete(store: Store, spool: Spool, which: str, before: float, uid: str) -> int:
    files: list[tuple[str, int]] = []
    with store.transaction() as cursor:
        cursor.execute(
            f"DELETE FROM study WHERE {which} AND uid = :uid",  # noqa: S608 - from above
            {"before": before, "uid": uid},
        )
        if not cursor.rowcount:  # something has come for it meanwhile
            return 0
        for files_of in (
            "SELECT file, size FROM instance WHERE study_uid = ?",
            "SELECT file, object.size FROM object JOIN result ON result.id = result_id"
            " WHERE study_uid = ?",
        ):
            files += cursor.execute(files_of, (uid,)).fetchall()
        cursor.execute("DELETE FROM instance WHERE study_uid = ?", (uid,))
        cursor.execute("DELETE FROM result WHERE study_uid = ?", (uid,))
    return _removed(spool, files)


def _delete_aside(store: Store, spool: Spool, before: float) -> int:
    with store.transaction() as cursor:
        which = "FROM instance WHERE study_uid IS NULL AND received < ?"
        files = cursor.execute(f"SELECT file, size {which}", (before,)).fetchall()
        cursor.execute(f"DELETE {which}", (before,))
    return _removed(spool, files)


def _removed(spool: Spool, files: list[tuple[str, int]]) -> int:
    for file, size in files:
        spool.remove(file, size)
    return len(files)
