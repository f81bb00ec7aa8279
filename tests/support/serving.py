"""The embedding server for tests: started as users start it, spoken to byte by byte."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scanside.serve import wire
from scanside.serve.codes import Cause, Dtype, Kind, MaskForm
from scanside.serve.wire import BODIES, NO_SLOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SERVE = (sys.executable, "-m", "scanside", "serve")
SECONDS = 30.0
"""Longer than anything takes on a busy machine."""


class Said(NamedTuple):
    """A message of the server."""

    kind: int
    number: int
    body: bytes
    payload: bytes

    @property
    def cause(self) -> Cause:
        """The cause of an ERROR."""
        assert self.kind == Kind.ERROR, self
        return Cause(BODIES.error.decode(self.body).cause)

    @property
    def fatal(self) -> bool:
        """Whether an ERROR ends the connection."""
        return bool(BODIES.error.decode(self.body).flags)


class Raw:
    """A client that sends whatever it is told to."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        end.settimeout(SECONDS)

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self.end.sendmsg([data], rights if descriptors else [])

    def ask(self, kind: Kind, number: int, body: bytes = b"", payload: bytes = b"") -> None:
        self.end.sendall(wire.encode(kind, number, body, len(payload)) + payload)

    def hello(self, *, flags: int = 0, version: tuple[int, int] = wire.VERSION) -> Said:
        self.ask(Kind.HELLO, 1, BODIES.client_hello.encode(wire.ClientHello(*version, flags)))
        return self.take()

    def take(self) -> Said:
        """The next message; EOFError at the end."""
        header = wire.decode_header(self._exactly(wire.HEADER_BYTES))
        body = self._exactly(header.body)
        return Said(header.kind, header.id, body, self._exactly(header.payload))

    def is_closed(self) -> bool:
        """Whether the server has closed, now or within some seconds."""
        try:
            return self.end.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.end.recv(size - len(got))
            if not piece:
                raise EOFError(got)
            got += piece
        return got


def infer(**changed: Any) -> bytes:
    """The fixed part of INFER for 64 x 64 x 3 bytes, with other fields where given."""
    usual = wire.Infer(
        height=64, width=64, channels=3, dtype=Dtype.U8, flags=0, mask_form=MaskForm.BYTES,
        slot=NO_SLOT, window_low=0, window_high=0, spacing_row=0, spacing_column=0, deadline_ms=0,
    )  # fmt: skip
    return BODIES.infer.encode(usual._replace(**changed))


FRAME = bytes(64 * 64 * 3)


@contextmanager
def listening(path: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server on a Unix socket, with the null backend unless the options say otherwise."""
    words = options if "--backend" in options else ("--backend", "null", *options)
    process = subprocess.Popen([*SERVE, *words, "--socket", str(path)], stderr=subprocess.PIPE)
    try:
        until(path.is_socket)
        yield process
    finally:
        process.terminate()
        process.wait(SECONDS)
        assert process.stderr is not None
        process.stderr.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.01)


@contextmanager
def connected(path: Path) -> Iterator[Raw]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        until(lambda: end.connect_ex(os.fspath(path)) == 0)
        yield Raw(end)


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return facts.rsplit(")", 1)[1].split()[0] != "Z"


def frames(count: int, shape: tuple[int, ...] = (64, 64, 3)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, np.uint8) for _ in range(count)]
