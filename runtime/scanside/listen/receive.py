"""The storage SCP: what is asked of the node, and what it answers.

References
----------
C-STORE statuses: DICOM PS3.4, table B.2-1, and PS3.7, section 9.1.1.1.9. Transfer syntaxes:
PS3.5, annex A.
"""

from __future__ import annotations

import hashlib
import io
import re
import socketserver
import threading
import time
from typing import TYPE_CHECKING, Final, cast

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    JPEG2000,
    UID,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import _STORAGE_CLASSES

from scanside.errors import InputError, OutputError
from scanside.listen.guard import GuardedServer, Shared
from scanside.listen.spool import Received, SpoolFullError

if TYPE_CHECKING:
    import ssl

    from pydicom import Dataset
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.events import Event
    from pynetdicom.pdu_primitives import A_ASSOCIATE

    from scanside.listen.audit import Audit
    from scanside.listen.config import ListenConfig
    from scanside.listen.metrics import Metrics
    from scanside.listen.spool import Spool

__all__ = ["Receiver", "RefusedError", "parse"]

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
NOT_OF_CLASS: Final = 0xA900
NOT_UNDERSTOOD: Final = 0xC000
PROCESSING_FAILURE: Final = 0x0110

_ANALYSED: Final = (
    MRImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
"""What studies are made of; every other storage class is set aside."""

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

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID: Final = 64
"""PS3.5, section 9.1."""

_WANTED_TAGS: Final[list[BaseTag | int]] = [
    Tag(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
]
_STUDY_INSTANCE_UID: Final = Tag("StudyInstanceUID")


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
        try:
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
        except OSError as error:
            raise OutputError(
                f"{node.address}:{node.port}: {error.strerror or error}",
                remedy="another program has the port, or the address is not of this computer:"
                " see node.address and node.port",
            ) from error
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
            received = parse(event)
            what = self._spool.accept(received)
        except SpoolFullError as error:
            status, told = OUT_OF_RESOURCES, str(error)
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


class RefusedError(InputError):
    """An object that is refused.

    Parameters
    ----------
    given
        Why; it holds nothing of the object.
    status
        The answer's status.
    """

    def __init__(self, given: str, status: int) -> None:
        super().__init__(given)
        self.status = status


def parse(event: Event) -> Received:
    """Read who an object is; its data set is not looked at beyond that.

    Parameters
    ----------
    event
        Of a C-STORE request.

    Raises
    ------
    RefusedError
        If it can't be read, or is not what its request says.
    """
    request = cast("C_STORE", event.request)
    sop_class, sop_instance = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    if not (_is_uid(sop_class) and _is_uid(sop_instance)):
        raise RefusedError("a request without valid UIDs", NOT_UNDERSTOOD)
    syntax = str(event.context.transfer_syntax)
    data = event.encoded_dataset(include_meta=False)
    digest = hashlib.sha256(syntax.encode() + b"\0")
    digest.update(data)
    study: str | None = None
    if sop_class in _ANALYSED:
        study = _study_of(data, syntax, sop_class, sop_instance)
    return Received(sop_class, sop_instance, study, event.encoded_dataset(), digest.hexdigest())


def _study_of(data: bytes, syntax: str, sop_class: str, sop_instance: str) -> str:
    """Return the StudyInstanceUID of an object, which must be the one that was announced."""
    try:
        head = read_dataset(
            io.BytesIO(data),
            is_implicit_VR=UID(syntax).is_implicit_VR,
            is_little_endian=UID(syntax).is_little_endian,
            stop_when=_beyond_study,
            specific_tags=_WANTED_TAGS,
        )
        found = [_text(head, tag) for tag in _WANTED_TAGS]
    except Exception as error:  # noqa: BLE001 - pydicom raises what it meets on a damaged data set
        raise RefusedError(
            f"a data set that can't be read ({type(error).__name__})", NOT_UNDERSTOOD
        ) from None
    if found[:2] != [sop_class, sop_instance]:
        raise RefusedError("a data set with other UIDs than its request", NOT_OF_CLASS)
    if not _is_uid(found[2]):
        raise RefusedError("a data set without a valid StudyInstanceUID", NOT_OF_CLASS)
    return found[2]


def _text(head: Dataset, tag: BaseTag | int) -> str:
    """Return a UID as it is encoded, without pydicom's opinion on it."""
    element = head.get_item(tag)
    value = b"" if element is None else element.value
    return value.decode("ascii").strip("\0 ") if isinstance(value, bytes) else ""


def _beyond_study(tag: BaseTag, _: str | None, __: int) -> bool:
    return int(tag) > int(_STUDY_INSTANCE_UID)


def _is_uid(text: str) -> bool:
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def contexts() -> Shared[PresentationContext]:
    """Return the presentation contexts: verification and every storage class."""
    found = Shared[PresentationContext]()
    found.append(build_context(_VERIFICATION, [str(syntax) for syntax in _TRANSFER_SYNTAXES[:2]]))
    for uid in sorted(_STORAGE_CLASSES.values()):
        syntaxes = [str(syntax) for syntax in _TRANSFER_SYNTAXES]
        if uid not in _ANALYSED:
            syntaxes += [str(syntax) for syntax in _LOSSY]
        found.append(build_context(uid, syntaxes))
    return found
