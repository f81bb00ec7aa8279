"""An end that keeps what was done."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Stop", "stop_on_interrupt"]


class Stop:
    """Whether to begin nothing more, for who calls this before each thing that is left.

    Attributes
    ----------
    left_work
        Whether somebody was told to stop, so that something was left undone: a signal that comes
        when all is done interrupts nothing.
    """

    def __init__(self) -> None:
        self.requested = self.left_work = False

    def __call__(self) -> bool:
        """Return whether to stop."""
        self.left_work |= self.requested
        return self.requested


@contextmanager
def stop_on_interrupt() -> Iterator[Stop]:
    """Let the first Ctrl-C or SIGTERM end the run after the slice at hand, a second one at once."""
    stop = Stop()

    def handle(_: int, __: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
