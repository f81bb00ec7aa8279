"""What a connection has to say: sent at once where that is possible, else by a thread."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scanside.serve.channel import Channel

__all__ = ["Outbox"]

_AT_ONCE: Final = 8
"""Parts that are written together; a message has three at most, and more would pay little."""

Buffer = bytes | bytearray | memoryview


class Outbox:
    """Messages in order; whoever sends one never waits for the other side.

    Parameters
    ----------
    channel
        Where they go.
    failed
        Called once, by any thread, when nobody reads any more.
    """

    def __init__(self, channel: Channel, failed: Callable[[], None]) -> None:
        self._channel: Final = channel
        self._failed: Final = failed
        self._changed = threading.Condition(threading.Lock())
        self._parts: deque[memoryview] = deque()
        self._bytes = 0
        self._closed = False
        self._writer: threading.Thread | None = None

    def send(self, parts: Sequence[Buffer]) -> bool:
        """Send a message.

        Parameters
        ----------
        parts
            Its bytes; not to be changed afterwards.

        Returns
        -------
        bool
            Whether it was taken: false once the connection has ended.
        """
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        with self._changed:
            if self._closed:
                return False
            idle = not self._parts
            self._parts.extend(views)
            self._bytes += sum(map(len, views))
            alive = self._write() if idle else True
            if alive and self._parts:
                self._begin()
        if not alive:
            self._failed()
        return alive

    def wait_below(self, limit: int) -> None:
        """Wait until fewer bytes than this have not been taken, or the connection has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes < limit)

    def flush(self, seconds: float | None) -> bool:
        """Wait until everything has been taken; false where the time, if any, is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or not self._parts, seconds)

    def close(self) -> None:
        """Take no more, and forget what was not sent."""
        with self._changed:
            self._closed = True
            self._parts.clear()
            self._bytes = 0
            self._changed.notify_all()

    def _write(self) -> bool:
        """Write what can be written at once, the lock held; false where nobody reads."""
        try:
            while self._parts:
                done = self._channel.write_some(list(islice(self._parts, _AT_ONCE)))
                if done == 0:
                    break
                self._bytes -= done
                self._take(done)
        except OSError:
            self._closed = True
            self._parts.clear()
            self._bytes = 0
            self._changed.notify_all()
            return False
        return True

    def _take(self, done: int) -> None:
        while done:
            first = self._parts[0]
            if done < len(first):
                self._parts[0] = first[done:]
                return
            done -= len(first)
            self._parts.popleft()

    def _begin(self) -> None:
        """Let a thread send the rest; it lives as long as the connection."""
        if self._writer is None:
            self._writer = threading.Thread(target=self._run, name="scanside-writer", daemon=True)
            self._writer.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._parts)
                if self._closed:
                    return
            # Not under the lock: a slow reader must not keep those who send.
            if not self._channel.wait_writable(1.0):
                continue
            with self._changed:
                alive = self._closed or self._write()
                self._changed.notify_all()
            if not alive:
                self._failed()
                return
