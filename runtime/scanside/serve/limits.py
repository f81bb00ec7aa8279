"""What a client may ask for; each limit is in HELLO and enforced before memory is taken."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MIB", "Limits"]

MIB: Final = 2**20


class Limits(NamedTuple):
    """The limits of a server, for each of its connections.

    Attributes
    ----------
    max_in_flight
        Requests without an answer.
    max_payload
        Bytes of one frame.
    max_clients
        Connections at once.
    max_slots
        Slots of shared memory.
    watchdog_ms
        Longest computation of one slice.
    message_timeout_ms
        Longest time from a message's first byte to its last.
    """

    max_in_flight: int = 128
    max_payload: int = 32 * MIB
    max_clients: int = 8
    max_slots: int = 256
    watchdog_ms: int = 10_000
    message_timeout_ms: int = 10_000

    @property
    def max_bytes_in_flight(self) -> int:
        """Bytes of frames and masks in flight: four of the largest, or many of the usual ones."""
        return 4 * self.max_payload

    @property
    def max_shared_bytes(self) -> int:
        """Bytes of shared memory."""
        return 8 * self.max_payload
