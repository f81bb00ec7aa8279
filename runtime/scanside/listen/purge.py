"""Delete what is finished and old enough; what is not yet delivered never is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.listen.config import Purge
    from scanside.listen.spool import Spool
    from scanside.listen.store import Store

__all__ = ["purge"]

_FINISHED = """
SELECT uid FROM study WHERE state = 'done' AND last_received < :before
  AND NOT EXISTS (
    SELECT 1 FROM result JOIN object ON object.result_id = result.id
      JOIN delivery ON delivery.object_id = object.id
    WHERE result.study_uid = uid
      AND (delivery.state != 'delivered' OR delivery.delivered >= :before))
"""
"""Studies with a result of all that came, each object of it accepted, long enough ago."""


def purge(store: Store, spool: Spool, policy: Purge, now: Callable[[], float]) -> int:
    """Delete finished studies, with their results, and what was set aside.

    Parameters
    ----------
    store, spool
        Where they are.
    policy
        How long they are kept.
    now
        Seconds since the epoch.

    Returns
    -------
    int
        Number of objects deleted, received ones and results.
    """
    gone: list[tuple[str, int]] = []
    with store.transaction() as cursor:
        studies = cursor.execute(_FINISHED, {"before": now() - policy.keep_hours * 3600}).fetchall()
        for study in studies:
            gone += cursor.execute(
                "SELECT file, size FROM instance WHERE study_uid = ?", study
            ).fetchall()
            gone += cursor.execute(
                "SELECT file, object.size FROM object JOIN result ON result.id = result_id"
                " WHERE study_uid = ?",
                study,
            ).fetchall()
            for table, column in (("instance", "study_uid"), ("result", "study_uid"),
                                  ("study", "uid")):  # fmt: skip
                cursor.execute(f"DELETE FROM {table} WHERE {column} = ?", study)  # noqa: S608
        aside = (now() - policy.aside_hours * 3600,)
        gone += cursor.execute(
            "SELECT file, size FROM instance WHERE study_uid IS NULL AND received < ?", aside
        ).fetchall()
        cursor.execute("DELETE FROM instance WHERE study_uid IS NULL AND received < ?", aside)
    for file, size in gone:
        spool.remove(file, size)
    return len(gone)
