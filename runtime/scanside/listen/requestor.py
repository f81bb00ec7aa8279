"""An association that is asked for, and that its sender alone takes answers from.

pynetdicom's thread for requests of the peer, its reactor, is to pause while an object is sent; a
thread that the computer holds up just then does not, takes the answer off the queue and drops it.
The sender waits in vain for 30 s and sends the object anew: on a busy computer once in some
thousand objects. A destination asks nothing of us, so that here the reactor pauses from beginning
to end.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import evt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import socket

    from pynetdicom import AE
    from pynetdicom.association import Association
    from pynetdicom.events import Event
    from pynetdicom.transport import AssociationSocket

__all__ = ["requested"]


class _Checkpoint(threading.Event):
    """What the reactor waits for before each of its turns; not set until it is let go."""

    _is_over = False

    def set(self) -> None:
        """Let the reactor go on, if the association is over."""
        if self._is_over:
            super().set()

    def let_go(self) -> None:
        """Let the reactor see that the association is over, and end."""
        self._is_over = True
        self.set()


@contextmanager
def requested(
    entity: AE,
    address: str,
    port: int,
    **how: Any,  # noqa: ANN401
) -> Iterator[Association | None]:
    """Ask for an association; give it, established or not, and release it afterwards.

    None is given if no address is known for the name.

    Parameters
    ----------
    entity
        Who asks.
    address, port
        Whom.
    **how
        As for `pynetdicom.AE.associate`.
    """
    checkpoint = _Checkpoint()
    try:
        association = entity.associate(
            address, port, evt_handlers=[(evt.EVT_CONN_OPEN, _prepare, [checkpoint])], **how
        )
    except (OSError, UnicodeError):
        yield None
        return
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        checkpoint.let_go()


def _prepare(event: Event, checkpoint: _Checkpoint) -> None:
    """Take hold of an association whose connection is open, before its reactor begins."""
    event.assoc._reactor_checkpoint = checkpoint
    # The last segment of each object is sent at once, not when the others are acknowledged.
    made = cast("AssociationSocket", event.assoc.dul.socket)
    cast("socket", made.socket).setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
