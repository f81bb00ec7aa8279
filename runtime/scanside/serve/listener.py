"""The Unix socket that several clients connect to, for this user alone."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from scanside.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Listener"]

_BACKLOG: Final = 16


class Listener:
    """A listening Unix socket, mode 0600, that is removed when it is closed.

    Parameters
    ----------
    path
        Where; a socket that nobody listens to any more is replaced.
    descriptor
        After a restart: the socket that listens there already.

    Raises
    ------
    UsageError
        If there is something else, another server listens, or it can't be made.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path: Final = path
        if descriptor is None:
            self._socket = _listening(path)
        else:
            self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)  # noqa: FBT003
        self._identity: Final = _identity(path)

    @property
    def descriptor(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def accept(self) -> int | None:
        """Return the descriptor of the next client; none if it has gone again."""
        try:
            return self._socket.accept()[0].detach()
        except OSError:
            return None

    def close(self) -> None:
        """Stop listening; the file is removed if it is still this socket's."""
        with suppress(OSError):
            if _identity(self.path) == self._identity:
                self.path.unlink()
        self._socket.close()


def _listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        # The mode is that of the file from its first moment: bind creates it by the umask.
        before = os.umask(0o177)
        try:
            made.bind(os.fspath(path))
        finally:
            os.umask(before)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise UsageError(
            f"--socket {path}: {error.strerror or error}",
            accepted="a path of up to 107 bytes in a folder of yours where there is no file",
        ) from None
    return made


def _remove_stale(path: Path) -> None:
    """Remove a socket that no server listens to; leave anything else alone."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = path.lstat()
        return (status.st_dev, status.st_ino)
    return None
