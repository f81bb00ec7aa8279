"""Ports that can't be opened, told by the keys that name them."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scanside.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["opened", "port_errors"]


@contextmanager
def port_errors(address: str, port: int, keys: str) -> Iterator[None]:
    """Turn the system's errors about a port into `OutputError`, which names its keys."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{address}:{port}: {error.strerror or error}",
            remedy="another program has the port, or the address is not of this computer:"
            f" see {keys}",
        ) from error


def opened(address: str, port: int, keys: str) -> socket.socket:
    """Open a port that nobody else has.

    Raises
    ------
    OutputError
        If it can't be opened.
    """
    with port_errors(address, port, keys):
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address, port), family=family)
