"""The storage SCU: results go to a destination until it has accepted them.

References
----------
C-STORE statuses: DICOM PS3.4, table B.2-1, and PS3.7, annex C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config, build_context

from scanside.errors import OutputError
from scanside.listen.requestor import requested
from scanside.listen.tls import client_context
from scanside.study.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from pynetdicom.association import Association

    from scanside.listen.audit import Audit
    from scanside.listen.config import Destination, Node
    from scanside.listen.metrics import Metrics
    from scanside.listen.outbox import Outbox, Parcel

__all__ = ["Sender"]

# Files are sent as they are, never decoded and encoded anew.
_config.STORE_SEND_CHUNKED_DATASET = True

_AT_ONCE: Final = 64
"""Objects of an association: at most what a failure makes be sent again."""

_SECONDS: Final = 30.0
"""For a connection, an association or an answer."""

_WARNINGS: Final = (0xB000, 0xB006, 0xB007)
"""Stored, with elements coerced or discarded: accepted."""

_ROOM: Final = range(0xA700, 0xA800)
"""Out of resources: tried again for as long as it takes."""


class Sender:
    """The thread that delivers to one destination.

    Parameters
    ----------
    destination, node
        From the configuration.
    outbox
        What is to be sent.
    audit, metrics
        What is noted.
    """

    def __init__(
        self,
        destination: Destination,
        node: Node,
        outbox: Outbox,
        audit: Audit,
        metrics: Metrics,
    ) -> None:
        self._destination: Final = destination
        self._outbox: Final = outbox
        self._audit: Final = audit
        self._metrics: Final = metrics
        self._tls: Final = None if destination.tls is None else client_context(destination.tls)
        self._entity: Final = AE(ae_title=node.ae_title)
        self._entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._entity.connection_timeout = _SECONDS
        self._entity.acse_timeout = _SECONDS
        self._entity.dimse_timeout = _SECONDS
        self._entity.network_timeout = _SECONDS
        self._failures = 0

    @property
    def name(self) -> str:
        """Name of the destination."""
        return self._destination.name

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Deliver what is due until told to stop.

        Parameters
        ----------
        stop
            Ends it after the object at hand.
        wake
            Set when there may be something new.
        """
        while not stop.is_set():
            if not self.deliver(stop):
                wake.wait(1.0)
                wake.clear()

    def deliver(self, stop: threading.Event) -> int:
        """Try what is due once; return the number of objects that were accepted."""
        parcels = self._outbox.due(self.name, _AT_ONCE)
        if not parcels:
            return 0
        classes = sorted({parcel.sop_class_uid for parcel in parcels})
        destination = self._destination
        with requested(
            self._entity,
            destination.address,
            destination.port,
            contexts=[build_context(uid, [ExplicitVRLittleEndian]) for uid in classes],
            ae_title=destination.ae_title,
            tls_args=None if self._tls is None else (self._tls, destination.address),
        ) as association:
            if association is None:
                self._unreachable("no address is known for its name")
            elif association.is_rejected:
                self._unreachable("the association was rejected")
            elif not association.is_established:
                self._unreachable("not reachable")
            else:
                return self._send(association, parcels, stop)
        return 0

    def _send(
        self, association: Association, parcels: Sequence[Parcel], stop: threading.Event
    ) -> int:
        accepted = 0
        for parcel in parcels:
            if stop.is_set():
                break
            try:
                status = self._status(association, parcel)
            except (OutputError, OSError, ValueError) as error:
                self._refused(parcel, str(error))
                continue
            if status is None:
                # Its own failure, for it may be what broke it: the others do not wait behind it.
                self._refused(parcel, "the association broke")
                break
            if status in _ROOM:
                self._unreachable(f"out of resources ({status:04X})", behind=parcel)
                break
            self._failures = 0
            if status == 0 or status in _WARNINGS:
                accepted += 1
                self._accepted(parcel, status)
            else:
                self._refused(parcel, f"status {status:04X}")
        return accepted

    @staticmethod
    def _status(association: Association, parcel: Parcel) -> int | None:
        """Send an object; return the answer's status, none if there was no answer.

        Raises
        ------
        OutputError
            If the file is damaged.
        ValueError
            If the destination takes no objects of this class.
        """
        parcel.content()  # checks its hash
        if not association.is_established:
            return None
        try:
            answer = association.send_c_store(parcel.path)
        except RuntimeError:  # pynetdicom: the association ended between the two lines
            return None
        return int(answer.Status) if "Status" in answer else None

    def _accepted(self, parcel: Parcel, status: int) -> None:
        after = self._outbox.delivered(parcel, self.name)
        if after is not None:
            self._metrics.first_result.observe(after)
        self._note("accepted", objects=1, status=f"{status:04X}")

    def _refused(self, parcel: Parcel, reason: str) -> None:
        dead = self._outbox.refuse(parcel, self.name, reason)
        self._note("dead" if dead else "refused", objects=1, reason=reason)

    def _unreachable(self, reason: str, behind: Parcel | None = None) -> None:
        self._failures += 1
        objects = self._outbox.postpone(self.name, self._failures, reason, behind)
        self._note("postponed", objects=objects, reason=reason)

    def _note(self, outcome: str, **facts: object) -> None:
        self._metrics.deliveries.labels(self.name, outcome).inc()
        self._audit.write(f"delivery {outcome}", destination=self.name, **facts)
