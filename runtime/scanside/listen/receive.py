"""The storage SCP: what is asked of the node, and what it answers.

References
----------
C-STORE statuses: DICOM PS3.4, table B.2-1, and PS3.7, section 9.1.1.1.9. Transfer syntaxes:
PS3.5, annex A.
"""

from __future__ import annotations

import socketserver
import threading
import time
from typing import TYPE_CHECKING, Final, cast

from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import _STORAGE_CLASSES

from scanside.errors import OutputError
from scanside.listen.arrival import ANALYSED, RefusedError, identify
from scanside.listen.guard import GuardedServer, Shared
from scanside.listen.ports import port_errors
from scanside.listen.store import SpoolFullError
from scanside.study.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    import ssl

    from pynetdicom.events import Event
    from pynetdicom.pdu_primitives import A_ASSOCIATE

    from scanside.listen.audit import Audit
    from scanside.listen.config import ListenConfig
    from scanside.listen.metrics import Metrics
    from scanside.listen.spool import Spool

__all__ = ["Receiver"]

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
PROCESSING_FAILURE: Final = 0x0110

_TRANSFER_SYNTAXES: Final = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]
"""Lossless ones that can be decoded here. Deflate is not among them: what it becomes is not known
before it is inflated."""

_VERIFICATION: Final = "1.2.840.10008.1.1"

_LOSSY: Final = [JPEGBaseline8Bit, JPEGLSNearLossless, JPEG2000]
"""For what is set aside only: a study is not analysed after a lossy compression."""


class Receiver:
    """The server that objects are sent to.

    Parameters
    ----------
    config
        The configuration.
    spool
        Where objects go.
    audit, metrics
        What is noted of each.
    tls
        The context for mutual TLS; none for plain TCP.

    Raises
    ------
    OutputError
        If the port can't be opened.
    """

    def __init__(
        self,
        config: ListenConfig,
        spool: Spool,
        audit: Audit,
        metrics: Metrics,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._spool: Final = spool
        self._audit: Final = audit
        self._metrics: Final = metrics
        limits = config.limits
        entity = AE(ae_title=config.node.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.require_called_aet = True
        # pynetdicom counts connections that have not asked for anything too: `judge` limits both.
        entity.maximum_associations = 2 * limits.associations
        entity.maximum_pdu_size = limits.pdu_bytes
        entity.acse_timeout = limits.pdu_seconds
        entity.dimse_timeout = limits.idle_seconds
        entity.network_timeout = limits.idle_seconds
        handlers = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_ABORTED, self._aborted),
        ]
        node = config.node
        with port_errors(node.address, node.port, "node.address and node.port"):
            self._server: Final = GuardedServer(
                entity,
                (node.address, node.port),
                node.ae_title,
                contexts(),
                evt_handlers=handlers,
                limits=limits,
                peers=config.peers,
                tls=tls,
            )
        self._thread: Final = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="scanside-listen", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is open."""
        return int(self._server.server_address[1])

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return self._server.connections

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Accept no more connections, and wait for those that are open.

        Parameters
        ----------
        seconds
            After which they are left to themselves: what is not acknowledged, its sender keeps.
        """
        if self._thread.is_alive():
            socketserver.BaseServer.shutdown(self._server)
            self._thread.join()
        self._server.server_close()
        end = time.monotonic() + seconds
        while self._server.connections and time.monotonic() < end:
            time.sleep(0.05)

    def _requested(self, event: Event) -> None:
        association = event.assoc
        host = association.requestor.address
        request = cast("A_ASSOCIATE", association.requestor.primitive)
        verdict = self._server.judge(request, host)
        if verdict is None:
            return
        self._metrics.rejected.inc()
        self._audit.write("association rejected", host=host, verdict="/".join(map(str, verdict)))
        association.acse.send_reject(*verdict)
        association.is_rejected = True
        association.kill()

    def _aborted(self, event: Event) -> None:
        self._metrics.aborted.inc()
        self._audit.write("association aborted", host=event.assoc.requestor.address)

    def _store(self, event: Event) -> int:
        """Answer a C-STORE request, when its object is on the disk."""
        started = time.perf_counter()
        host = event.assoc.requestor.address
        try:
            received = identify(event)
            what = self._spool.accept(received)
        except SpoolFullError as error:
            status, told = OUT_OF_RESOURCES, str(error)
        except MemoryError:
            status, told = OUT_OF_RESOURCES, "there is not enough memory for it"
        except RefusedError as error:
            status, told = error.status, error.given
        except OutputError as error:
            status, told = PROCESSING_FAILURE, str(error)
        else:
            self._metrics.received.labels("aside" if received.study_uid is None else what).inc()
            self._metrics.acknowledged.observe(time.perf_counter() - started)
            return SUCCESS
        self._metrics.refused.labels(f"{status:04X}").inc()
        self._audit.write("object refused", host=host, status=f"{status:04X}", reason=told)
        return status


def contexts() -> Shared[PresentationContext]:
    """Return the presentation contexts: verification and every storage class."""
    found = Shared[PresentationContext]()
    found.append(build_context(_VERIFICATION, [str(syntax) for syntax in _TRANSFER_SYNTAXES[:2]]))
    for uid in sorted(_STORAGE_CLASSES.values()):
        syntaxes = [str(syntax) for syntax in _TRANSFER_SYNTAXES]
        if uid not in ANALYSED:
            syntaxes += [str(syntax) for syntax in _LOSSY]
        found.append(build_context(uid, syntaxes))
    return found
