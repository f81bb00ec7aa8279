"""What one connection can take: length and time of a PDU, checked before it is read.

pynetdicom reads as many bytes as a PDU's header announces, up to 4 GiB, and waits for them for
ever. The socket that it reads from is replaced by one with limits; what breaks them is an error
of the socket to pynetdicom, which ends the association.

References
----------
DICOM PS3.8, section 9.3.1: a PDU is a type (1 byte), a reserved byte, and a length (4 bytes,
big-endian) of what follows.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import Counter
from socket import IPPROTO_TCP, TCP_QUICKACK
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from pynetdicom import evt
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from pynetdicom import AE
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import A_ASSOCIATE
    from pynetdicom.presentation import PresentationContext

    from scanside.listen.config import Limits, Peer

__all__ = ["GuardedServer", "Shared"]

T = TypeVar("T")

_HEADER: Final = 6
_CHUNK: Final = 65536

_LONGEST_OTHER: Final = 1 << 16
"""Bytes of any PDU but data: an A-ASSOCIATE-RQ with 128 presentation contexts of a dozen transfer
syntaxes each is some 50 kB."""

_WAITING: Final = 2
"""Requests of an association that wait, at most: a sender that has not negotiated asynchronous
operations waits for each answer (PS3.7, annex D.3.3.3)."""

_PERMANENT, _TRANSIENT = 0x01, 0x02
_SERVICE_USER, _PRESENTATION = 0x01, 0x03
_CALLING_UNKNOWN, _LIMIT_EXCEEDED = 0x03, 0x02
"""Result, source and reason of an A-ASSOCIATE-RJ: PS3.8, table 9-21."""


class Shared(list[T]):
    """A list that copies share: pynetdicom copies the contexts deeply for each association.

    Copying those of all storage classes takes 40 ms; they are read only.
    """

    def __deepcopy__(self, _: dict[int, object]) -> Shared[T]:
        return self


class _GuardedSocket(AssociationSocket):
    """The socket of an association, with limits."""

    limits: Limits
    _deadline: float = 0.0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly so many bytes, within the time that a PDU may take.

        Raises
        ------
        OSError
            If a PDU, an object or a queue is longer than its limit, or if a PDU does not come
            in time: pynetdicom ends the association.
        """
        sock = cast("socket.socket", self.socket)
        if nr_bytes == _HEADER:
            self._deadline = time.monotonic() + self.limits.pdu_seconds
        else:
            self._check(nr_bytes)
        content = bytearray()
        while len(content) < nr_bytes:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{len(content)} of {nr_bytes} bytes of a PDU came in time")
            sock.settimeout(left)
            # A sender that keeps its last segment until the others are acknowledged (Nagle) would
            # wait 40 ms for each object: the kernel delays acknowledgements, and forgets this
            # option at each answer (tcp(7)).
            sock.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 1)
            chunk = sock.recv(min(_CHUNK, nr_bytes - len(content)))
            if not chunk:
                break
            content += chunk
        sock.settimeout(self.limits.pdu_seconds)  # for sending to a peer that does not read
        return content

    def _check(self, nr_bytes: int) -> None:
        limits, dimse = self.limits, self.assoc.dimse
        if nr_bytes > max(limits.pdu_bytes, _LONGEST_OTHER):
            raise ConnectionAbortedError(f"a PDU of {nr_bytes} bytes was announced")
        message = dimse.message
        parts = [] if message is None else [message.encoded_command_set, message.data_set]
        so_far = sum(part.tell() for part in parts if part is not None)
        if so_far + nr_bytes > limits.object_mb * 1_000_000:
            raise ConnectionAbortedError(f"an object of more than {limits.object_mb} MB")
        if dimse.msg_queue.qsize() > _WAITING:
            raise ConnectionAbortedError("requests without waiting for answers")


class _GuardedHandler(RequestHandler):
    """Makes an association with a guarded socket, and stays until it has ended."""

    server: GuardedServer

    def handle(self) -> None:
        """Run one association."""
        association = self._create_association()
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()
        association.join()

    def _create_association(self) -> Association:
        association = super()._create_association()
        # pynetdicom makes the socket itself, a moment ago: nothing has been read from it yet.
        made = cast("AssociationSocket", association.dul.socket)
        made.__class__ = _GuardedSocket
        guarded = cast("_GuardedSocket", made)
        guarded.limits = self.server.limits
        return association


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections of the peers' addresses, as many as it is allowed to.

    Parameters
    ----------
    entity, address, ae_title, contexts, evt_handlers
        As for `pynetdicom.transport.AssociationServer`.
    limits, peers
        From the configuration.
    tls
        The context for mutual TLS; none for plain TCP.
    """

    daemon_threads = True  # what has not ended at the end of a drain is not waited for
    request_queue_size = 64

    def __init__(  # noqa: PLR0913 - pynetdicom's own, and what is checked here
        self,
        entity: AE,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        *,
        evt_handlers: list[tuple[Any, ...]],
        limits: Limits,
        peers: Sequence[Peer],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.limits: Final = limits
        self._tls: Final = tls
        self._networks: Final = [
            (peer.ae_title, ipaddress.ip_network(address))
            for peer in peers
            for address in peer.addresses
        ]
        self._lock: Final = threading.Lock()
        self._connections: Final = Counter[str]()
        super().__init__(
            entity,
            address,
            ae_title,
            contexts,
            evt_handlers=evt_handlers,
            request_handler=_GuardedHandler,
        )

    @property
    def connections(self) -> int:
        """Number of open connections."""
        with self._lock:
            return self._connections.total()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection.

        Raises
        ------
        OSError
            If it is of nobody who may send, or one too many; it is closed without an answer.
        """
        connection, address = cast("socket.socket", self.socket).accept()
        host = str(address[0])
        with self._lock:
            # Twice as many connections as associations: those between are told why (`judge`).
            limits, open_ = self.limits, self._connections
            room = (
                open_.total() < 2 * limits.associations
                and open_[host] < 2 * limits.associations_per_address
            )
            if room and self._may_connect(host):
                self._connections[host] += 1
                return connection, address
        connection.close()
        raise ConnectionRefusedError(f"a connection from {host}")

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Begin to serve a connection in a thread of its own."""
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be made: `socketserver` closes the connection
            self._left(client_address)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Serve a connection; the TLS handshake is here, so that it holds up nobody else."""
        try:
            if self._tls is not None:
                request.settimeout(self.limits.pdu_seconds)
                request = self._tls.wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except OSError:
            self.shutdown_request(request)
        finally:
            self._left(client_address)

    def _left(self, client_address: tuple[Any, ...]) -> None:
        host = str(client_address[0])
        with self._lock:
            self._connections[host] -= 1
            if not self._connections[host]:
                del self._connections[host]

    def judge(self, request: A_ASSOCIATE, host: str) -> tuple[int, int, int] | None:
        """Return why a requested association is rejected; none if it is not.

        Parameters
        ----------
        request
            The A-ASSOCIATE request.
        host
            Address of the requestor.

        Returns
        -------
        tuple or None
            Result, source and reason (PS3.8, table 9-21).
        """
        title = request.calling_ae_title
        if not any(title == known and _holds(network, host) for known, network in self._networks):
            return _PERMANENT, _SERVICE_USER, _CALLING_UNKNOWN
        hosts = [each.requestor.address for each in self.active_associations if each.is_established]
        full = len(hosts) >= self.limits.associations
        if full or hosts.count(host) >= self.limits.associations_per_address:
            return _TRANSIENT, _PRESENTATION, _LIMIT_EXCEEDED
        return None

    def _may_connect(self, host: str) -> bool:
        return any(_holds(network, host) for _, network in self._networks)


def _holds(network: ipaddress.IPv4Network | ipaddress.IPv6Network, host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in network
