"""A restart in place: the process replaces itself and keeps its number, clients and memory.

A thread that hangs inside a library can't be ended; the process can. What has to survive is
descriptors, which ``exec`` keeps, and a few facts, which wait in a memfd.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["HeldConnection", "HeldMemory", "State", "replace_process", "take_state"]

_VARIABLE: Final = "SCANSIDE_SERVE_STATE"
"""Names the descriptor of the memfd; removed from the environment as soon as it is read."""


class HeldMemory(msgspec.Struct, frozen=True):
    """Shared memory: its descriptor and layout."""

    descriptor: int
    slots: int
    slot_bytes: int


class HeldConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection between two messages.

    Attributes
    ----------
    number, reader, writer
        As in `Connection`.
    greeting
        What its HELLO said, ordered and minor version; none before it.
    memory
        Its shared memory.
    """

    number: int
    reader: int
    writer: int
    greeting: tuple[bool, int] | None
    memory: HeldMemory | None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that survives.

    Attributes
    ----------
    connections
        Each of them.
    listener
        The descriptor of the listening socket.
    counters
        As `Counters.snapshot` gives them.
    restarted
        When there was a restart, on the clock `time.monotonic`, this one included.
    """

    connections: list[HeldConnection]
    listener: int | None
    counters: dict[str, int]
    restarted: list[float]

    def descriptors(self) -> list[int]:
        """Return every descriptor that has to survive."""
        held = [d for c in self.connections for d in (c.reader, c.writer)]
        held += [c.memory.descriptor for c in self.connections if c.memory is not None]
        return held if self.listener is None else [*held, self.listener]


def replace_process(state: State) -> NoReturn:
    """Start this program again in this process, by the command that it was started with."""
    memory = os.memfd_create("scanside-state")
    os.write(memory, msgspec.json.encode(state))
    for descriptor in (memory, *state.descriptors()):
        os.set_inheritable(descriptor, True)  # noqa: FBT003
    os.environ[_VARIABLE] = str(memory)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def take_state() -> State | None:
    """Return what was handed over; none at a first start."""
    descriptor = os.environ.pop(_VARIABLE, None)
    if descriptor is None:
        return None
    with open(int(descriptor), "rb") as memory:  # noqa: PTH123 - a descriptor
        memory.seek(0)
        state = msgspec.json.decode(memory.read(), type=State)
    for held in state.descriptors():
        os.set_inheritable(held, False)  # noqa: FBT003
    return state
