"""A DICOM node in this process, with a scanner and a PACS beside it, all on loopback."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context, evt

from mr import encoded, instance
from scanside.listen.config import parse_listen_config
from scanside.listen.node import Node
from scanside.listen.status import read_status
from scanside.listen.store import read_only
from scanside.listen.work import Analysis
from scanside.writers.dicom.context import EncodedObject

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scanside.listen.status import DestinationStatus, SpoolStatus
    from scanside.listen.studies import Claim
    from scanside.listen.work import Analyse

__all__ = [
    "LEFT_SOCKETS",
    "NODE",
    "Pacs",
    "analysed",
    "configuration",
    "free_port",
    "running",
    "scanner",
    "send",
    "state",
    "tried",
    "until",
]

NODE = "SCANSIDE"

LEFT_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""pynetdicom leaves a socket that could not connect to the garbage collector."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(folder: Path, *, port: int, pacs: int | None = None, more: str = "") -> str:
    """Return a configuration that is quick; `more` is TOML that is added."""
    destination = (
        ""
        if pacs is None
        else f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\naddress = "127.0.0.1"\n'
        f"port = {pacs}\n"
    )
    return f"""
[node]
ae_title = "SCANSIDE"
port = {port}
[[peers]]
ae_title = "SCANNER"
addresses = ["127.0.0.0/8"]
{destination}
[spool]
folder = "{folder}"
min_free_gb = 0
[study]
quiet_seconds = 0.5
deadline_seconds = 60
[retry]
first_seconds = 0.1
longest_seconds = 0.5
[monitoring]
port = 0
{more}
"""


def analysed(claim: Claim) -> Analysis:
    """Make a result that tells which objects it is of."""
    names = repr([file.name for file in claim.files]).encode()
    number = int(hashlib.sha256(names).hexdigest()[:8], 16)
    made = instance(9, number)
    uid = str(made.SOPInstanceUID)
    result = EncodedObject("sr", "1.2", "1.2.1", MRImageStorage, uid, "sr.dcm", encoded(made))
    return Analysis("complete", (result,))


@contextmanager
def running(text: str, analyse: Analyse = analysed) -> Iterator[Node]:
    """Run a node in threads."""
    node = Node(parse_listen_config(text), analyse)
    thread = threading.Thread(target=node.run)
    thread.start()
    try:
        yield node
    finally:
        node.stop()
        thread.join(30)
        assert not thread.is_alive()


class Pacs:
    """A destination that keeps what it accepts."""

    def __init__(
        self,
        answer: Callable[[int], int] = lambda _: 0,
        breaks: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.received: list[tuple[str, bytes]] = []
        self._answer, self._asked = answer, 0
        self._breaks, self._seen = breaks, list[str]()
        entity = AE("PACS")
        entity.add_supported_context(MRImageStorage)
        self._server = entity.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
            ssl_context=tls,
        )
        self.port = int(self._server.server_address[1])

    def _store(self, event: Any) -> int:
        self._asked += 1
        uid = str(event.request.AffectedSOPInstanceUID)
        self._seen += [] if uid in self._seen else [uid]
        if self._seen.index(uid) < self._breaks:  # so many of the first objects
            event.assoc.abort()
            return 0
        status = self._answer(self._asked)
        if status == 0:
            self.received.append((uid, event.encoded_dataset(include_meta=False)))
        return status

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()


def scanner(port: int, title: str = "SCANNER", called: str = "SCANSIDE", **more: Any) -> Any:
    """Ask for an association; return it, established or not."""
    contexts = [
        build_context(MRImageStorage, [ExplicitVRLittleEndian]),
        build_context("1.2.840.10008.1.1"),
        build_context("1.2.840.10008.5.1.4.1.1.7", [ExplicitVRLittleEndian]),
    ]
    return AE(title).associate("127.0.0.1", port, contexts=contexts, ae_title=called, **more)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.02)


def state(folder: Path) -> SpoolStatus:
    """What a spool holds."""
    with read_only(folder) as read:
        return read_status(read)


def tried(folder: Path) -> DestinationStatus:
    """What became of the first result for the PACS, once there is one."""
    until(lambda: "pacs" in state(folder).destinations)
    return state(folder).destinations["pacs"]


def send(port: int, *numbers: int, study: int = 1, seed: int = 0) -> list[int]:
    """Send instances of a study over one association; return the statuses."""
    association = scanner(port)
    assert association.is_established
    answers = [int(association.send_c_store(instance(study, n, seed=seed)).Status) for n in numbers]
    association.release()
    return answers
