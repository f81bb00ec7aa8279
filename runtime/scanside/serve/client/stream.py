"""The client's end of the stream: whole messages out and in, with a time limit on each call."""

from __future__ import annotations

import array
import os
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.serve import wire
from scanside.serve.wire import HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Message", "Stream"]

_PIECE: Final = 2**18


class Message(NamedTuple):
    """One message of the server: its header, its fixed part, its payload."""

    header: wire.Header
    body: bytes
    payload: bytes


class Stream:
    """Two descriptors, of pipes or of one socket, that this object owns; never blocks.

    Parameters
    ----------
    reader, writer
        The descriptors; the same for a socket.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self.ended = False
        self._reader: Final = reader
        self._writer: Final = writer
        self._received: Final = bytearray()
        self._messages: Final[deque[Message]] = deque()
        for descriptor in {reader, writer}:
            os.set_blocking(descriptor, False)

    def send(
        self, parts: Sequence[bytes | memoryview], until: float, descriptor: int | None = None
    ) -> None:
        """Send a message, and take in what comes meanwhile.

        Parameters
        ----------
        parts
            Its bytes.
        until
            On the clock `time.monotonic`.
        descriptor
            What goes with its first byte; over a socket only.

        Raises
        ------
        TimeoutError
            If the server does not read. The stream has lost its place then, and is closed.
        """
        left = deque(memoryview(part).cast("B") for part in parts if len(part))
        try:
            if descriptor is not None:
                self._send_descriptor(left.popleft(), descriptor)
            while left and not self.ended:
                try:
                    done = os.writev(self._writer, list(left))
                except BlockingIOError:
                    self._wait(until, writable=True)
                    continue
                while done:
                    first = left.popleft()
                    if done < len(first):
                        left.appendleft(first[done:])
                    done -= min(done, len(first))
        except TimeoutError:
            self.ended = True
            raise
        except OSError:
            # What the server said last may still be there to be read.
            self._drain()

    def next(self, until: float) -> Message | None:
        """Return the next message; none at the end of the stream.

        Raises
        ------
        TimeoutError
            If none comes in time.
        """
        while not self._messages and not self.ended:
            self._wait(until, writable=False)
        return self._messages.popleft() if self._messages else None

    def close(self) -> None:
        """Close the descriptors."""
        self.ended = True
        for descriptor in {self._reader, self._writer}:
            os.close(descriptor)

    def _send_descriptor(self, part: memoryview, descriptor: int) -> None:
        with socket.socket(fileno=os.dup(self._writer)) as whole:
            rights = array.array("i", [descriptor])
            whole.sendmsg([part], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def _wait(self, until: float, *, writable: bool) -> None:
        """Wait until something can be done, and read what there is."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if writable:
            poll.register(self._writer, select.POLLOUT | (self._reader == self._writer))
        left = max(0.0, until - time.monotonic())
        if not (ready := dict(poll.poll(left * 1e3))):
            raise TimeoutError("the server did not answer in time")
        if ready.get(self._reader, 0) & (select.POLLIN | select.POLLHUP):
            self._pull()

    def _drain(self) -> None:
        while self._pull():
            pass

    def _pull(self) -> bool:
        """Read once, and cut what is there into messages; false where there is nothing."""
        try:
            piece = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return False
        except OSError:
            piece = b""
        if not piece:
            self.ended = True
            return False
        self._received.extend(piece)
        while len(self._received) >= HEADER_BYTES:
            header = wire.decode_header(memoryview(self._received)[:HEADER_BYTES])
            body_end = HEADER_BYTES + header.body
            end = body_end + header.payload
            if len(self._received) < end:
                break
            body = bytes(self._received[HEADER_BYTES:body_end])
            self._messages.append(Message(header, body, bytes(self._received[body_end:end])))
            del self._received[:end]
        return True
