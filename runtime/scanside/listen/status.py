"""What state a node is in, read from its spool: by a running node, or beside it."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from scanside.listen.audit import pseudonym

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DestinationStatus", "FailedStudy", "SpoolStatus", "read_status"]

STATUS_SCHEMA: Final = "scanside.listen-status/1"


class DestinationStatus(Struct, frozen=True, kw_only=True):
    """What is to be delivered to a destination.

    Attributes
    ----------
    pending, delivered, dead
        Numbers of objects.
    oldest_pending_seconds
        Age of the oldest pending one; none without any.
    reason
        Why the last try of a pending or dead one failed.
    """

    pending: int
    delivered: int
    dead: int
    oldest_pending_seconds: float | None
    reason: str | None


class FailedStudy(Struct, frozen=True, kw_only=True):
    """A study that could not be analysed.

    Attributes
    ----------
    study
        The first 16 digits of the SHA-256 of its StudyInstanceUID, as in the audit log.
    reason
        Why.
    """

    study: str
    reason: str | None


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """The state of a spool.

    Attributes
    ----------
    studies
        Numbers by state: receiving, processing, done, failed.
    instances, aside
        Numbers of received objects of studies, and of those that were set aside.
    bytes
        Of received objects and results.
    results
        Numbers of current results by outcome.
    superseded
        Number of results that a later one has replaced.
    first_result_seconds
        From the last object of a study to the first delivery of its result, the median of the
        latest hundred; none before the first.
    idle
        Whether nothing is left to do: no study to look at, nothing to deliver.
    destinations
        By name.
    failed
        Studies that could not be analysed.
    """

    schema: Literal["scanside.listen-status/1"] = STATUS_SCHEMA
    studies: dict[str, int]
    instances: int
    aside: int
    bytes: int
    results: dict[str, int]
    superseded: int
    first_result_seconds: float | None
    idle: bool
    destinations: dict[str, DestinationStatus]
    failed: list[FailedStudy]


def read_status(
    read: Callable[[str], list[tuple[Any, ...]]], now: Callable[[], float] = time.time
) -> SpoolStatus:
    """Read the state of a spool.

    Parameters
    ----------
    read
        Runs a query and returns its rows.
    now
        Seconds since the epoch.
    """
    studies = dict.fromkeys(("receiving", "processing", "done", "failed"), 0)
    studies.update(dict(read("SELECT state, count(*) FROM study GROUP BY state")))
    ((instances, aside, received),) = read(
        "SELECT count(study_uid), count(*) - count(study_uid), total(size) FROM instance"
    )
    ((made,),) = read("SELECT total(size) FROM object")
    results = dict(read("SELECT outcome, count(*) FROM result WHERE is_current GROUP BY outcome"))
    ((superseded,),) = read("SELECT count(*) FROM result WHERE NOT is_current")
    destinations = {
        name: DestinationStatus(
            pending=int(pending),
            delivered=int(delivered),
            dead=int(dead),
            oldest_pending_seconds=None if oldest is None else round(now() - oldest, 1),
            reason=reason,
        )
        for name, pending, delivered, dead, oldest, reason in read(
            "SELECT destination, total(delivery.state = 'pending'),"
            " total(delivery.state = 'delivered'), total(delivery.state = 'dead'),"
            " min(iif(delivery.state = 'pending', created, NULL)),"
            " max(iif(delivery.state = 'delivered', NULL, delivery.reason)) FROM delivery"
            " JOIN object ON object.id = object_id JOIN result ON result.id = result_id"
            " GROUP BY destination ORDER BY destination"
        )
    }
    times = [
        seconds
        for (seconds,) in read(
            "SELECT min(delivered) - last_received FROM result"
            " JOIN object ON result_id = result.id JOIN delivery ON object_id = object.id"
            " WHERE delivered IS NOT NULL GROUP BY result.id ORDER BY result.id DESC LIMIT 100"
        )
    ]
    waiting = sum(found.pending for found in destinations.values())
    return SpoolStatus(
        studies=studies,
        instances=instances,
        aside=aside,
        bytes=int(received + made),
        results=results,
        superseded=superseded,
        first_result_seconds=round(median(times), 1) if times else None,
        idle=not (studies["receiving"] or studies["processing"] or waiting),
        destinations=destinations,
        failed=[
            FailedStudy(study=pseudonym(uid), reason=reason)
            for uid, reason in read("SELECT uid, reason FROM study WHERE state = 'failed'")
        ],
    )
