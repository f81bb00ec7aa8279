"""Bytes in and out: pipes, sockets, files; nothing here ever waits longer than it was told."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from scanside.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Channel", "EndOfStreamError"]

_PIPE_BYTES: Final = 2**20
"""What an unprivileged process may make a pipe hold (``/proc/sys/fs/pipe-max-size``): a frame of
256 x 256 x 3 and more passes in one go, where 64 KiB would take four turns of both processes."""

_FDS: Final = socket.CMSG_SPACE(4 * array.array("i").itemsize)
"""Room for four descriptors; the kernel closes what does not fit."""


class EndOfStreamError(Exception):
    """The other side has closed, or has gone.

    Parameters
    ----------
    between
        Whether the stream ended between two messages.
    """

    def __init__(self, *, between: bool) -> None:
        super().__init__("the stream has ended")
        self.between: Final = between


class Channel:
    """A pair of descriptors, of two pipes or of one socket; both are made non-blocking.

    Parameters
    ----------
    reader, writer
        Descriptors that this object owns. They are the same for a socket.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self.reader: Final = reader
        self.writer: Final = writer
        self._socket = _unix_socket(reader) if _same(reader, writer) else None
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(reader, select.POLLIN)
        self._writable.register(writer, select.POLLOUT)
        for descriptor in {reader, writer}:
            os.set_blocking(descriptor, False)
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                with suppress(OSError):
                    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def passes_descriptors(self) -> bool:
        """Whether descriptors can come with the bytes."""
        return self._socket is not None

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the first byte of a message, or for the end; false where the time is over."""
        return bool(self._readable.poll(None if seconds is None else seconds * 1e3))

    def read_first(self, view: memoryview, until: float) -> list[int]:
        """Fill a buffer with the first bytes of a message.

        Parameters
        ----------
        view
            What to fill.
        until
            On the clock `time.monotonic`.

        Returns
        -------
        list of int
            The descriptors that came with it; the caller's to close.

        Raises
        ------
        EndOfStreamError
            If the stream ends.
        TimeoutError
            If it takes too long.
        """
        descriptors: list[int] = []
        try:
            got = self._receive(view, descriptors)
            self.read(view[got:], until)
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        return descriptors

    def read(self, view: memoryview, until: float) -> None:
        """Fill a buffer with what belongs to a message that has begun; as `read_first`."""
        done = 0
        while done < len(view):
            try:
                got = os.readv(self.reader, [view[done:]])
            except BlockingIOError:
                self._await(until)
                continue
            except OSError:
                got = 0
            if got == 0:
                raise EndOfStreamError(between=False)
            done += got

    def skip(self, size: int, until: float) -> None:
        """Read so many bytes and forget them; as `read_first`."""
        room = memoryview(bytearray(min(size, 2**16)))
        while size > 0:
            piece = room[:size]
            self.read(piece, until)
            size -= len(piece)

    def write_some(self, parts: Sequence[memoryview]) -> int:
        """Write what can be written at once.

        Returns
        -------
        int
            Bytes; 0 where the other side has to read first.

        Raises
        ------
        OSError
            If nobody will read it.
        """
        try:
            return os.writev(self.writer, parts)
        except BlockingIOError:
            return 0

    def wait_writable(self, seconds: float) -> bool:
        """Wait until something can be written, or has failed; false where the time is over."""
        return bool(self._writable.poll(seconds * 1e3))

    def peer_is_gone(self) -> bool:
        """Tell whether nobody will read what is written."""
        poll = select.poll()  # not the one that another thread may wait with
        poll.register(self.writer, select.POLLOUT)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))

    def shut(self) -> None:
        """End the stream both ways; whoever waits for it is woken."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptors."""
        self.shut()
        if self._socket is not None:
            self._socket.detach()
        for descriptor in {self.reader, self.writer}:
            with suppress(OSError):
                os.close(descriptor)

    def _receive(self, view: memoryview, descriptors: list[int]) -> int:
        """Read once, with descriptors where they can come; 0 where there is nothing yet."""
        ancillary: list[tuple[int, int, bytes]] = []
        try:
            if self._socket is None:
                got = os.readv(self.reader, [view])
            else:
                got, ancillary, _, _ = self._socket.recvmsg_into(
                    [view], _FDS, socket.MSG_CMSG_CLOEXEC
                )
        except BlockingIOError:
            return 0
        except OSError:
            got = 0
        if got == 0:
            raise EndOfStreamError(between=True)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                held = array.array("i")
                held.frombytes(data[: len(data) - len(data) % held.itemsize])
                descriptors += held
        return got

    def _await(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0 or not self._readable.poll(left * 1e3):
            raise TimeoutError


def _same(reader: int, writer: int) -> bool:
    return os.path.samestat(os.fstat(reader), os.fstat(writer))


def _unix_socket(descriptor: int) -> socket.socket | None:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return None
    made = socket.socket(fileno=descriptor)
    if (made.family, made.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        family, kind = made.family, made.type
        made.detach()
        raise UsageError(
            f"a socket of family {family}, type {kind}", accepted="AF_UNIX, SOCK_STREAM, or pipes"
        )
    return made
