"""How a client finds its server: as a child of its own, or behind a Unix socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from scanside.errors import BackendError
from scanside.serve.client.session import Client
from scanside.serve.client.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["SERVE", "connect", "spawn"]

SERVE: Final = (sys.executable, "-m", "scanside", "serve")


def spawn(
    *options: str,
    command: Sequence[str] = SERVE,
    pipes: bool = False,
    stderr: int | None = None,
    **settings: Any,  # noqa: ANN401 - those of the class
) -> Client:
    """Start a server of the client's own.

    Parameters
    ----------
    options
        Of ``scanside serve``.
    command
        How ``scanside serve`` is started.
    pipes
        Talk through pipes, where the default is a socket pair with shared memory.
    stderr
        Where its log goes, as for `subprocess.Popen`.
    settings
        As for `Client`; `slots` are those that keep the server busy, unless they are given.
    """
    words = [*command, *options]
    if not pipes:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            process = _started(words, theirs.fileno(), theirs.fileno(), stderr)
        end = ours.detach()
        return Client(Stream(end, end), process, **{"slots": None, **settings})
    their_reader, writer = os.pipe()
    reader, their_writer = os.pipe()
    try:
        process = _started(words, their_reader, their_writer, stderr)
    finally:
        os.close(their_reader)
        os.close(their_writer)
    return Client(Stream(reader, writer), process, **settings)


def connect(path: Path, **settings: Any) -> Client:  # noqa: ANN401 - those of the class
    """Connect to a server that listens on a Unix socket.

    Parameters
    ----------
    path
        What it was given as ``--socket``.
    settings
        As for `Client`.

    Raises
    ------
    BackendError
        If nobody listens there.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(os.fspath(path))
    except OSError as error:
        made.close()
        raise BackendError(f"{path}: {error.strerror}", remedy="start the server") from None
    end = made.detach()
    return Client(Stream(end, end), **settings)


def _started(
    words: Sequence[str], reader: int, writer: int, stderr: int | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=reader, stdout=writer, stderr=stderr)  # noqa: S603
