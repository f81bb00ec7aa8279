"""The main thread of ``scanside serve``: clients that come, signals, the watchdog, the end."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from scanside.errors import BackendError, UsageError
from scanside.serve.answers import encode_error
from scanside.serve.channel import Channel
from scanside.serve.codes import Cause
from scanside.serve.connection import Connection
from scanside.serve.handover import HeldConnection, HeldMemory, State, replace_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn

    from scanside.serve.listener import Listener
    from scanside.serve.service import Service

__all__ = ["Server", "Signals"]

_TICK_MS: Final = 250
"""How often the watchdog looks."""

_GRACE_S: Final = 1.0
"""How long a restart waits for a message that is on its way, and an end for an unread answer."""

_RESTARTS, _WITHIN_S = 3, 60.0
"""More restarts than this within a minute: the device will not come back."""


class Signals:
    """SIGTERM and SIGINT, counted: the first one drains, the second one ends at once."""

    def __init__(self) -> None:
        self.count = 0
        self.descriptor, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Count them from now on."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, _: int, __: FrameType | None) -> None:
        self.count += 1
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")


class Server:
    """Serves until there is nobody to serve, or it is told to end.

    Parameters
    ----------
    service
        What serves.
    signals
        Caught already.
    listener
        Where clients come from; none for the single one that is there from the start.
    restarted
        When the process replaced itself before.
    """

    def __init__(
        self,
        service: Service,
        signals: Signals,
        listener: Listener | None,
        restarted: list[float],
    ) -> None:
        self._service: Final = service
        self._signals: Final = signals
        self._listener: Final = listener
        self._restarted: Final = restarted
        self._parent: Final = os.getppid()
        self._next = 1 + max((c.number for c in service.connections), default=0)
        self._poll: Final = select.poll()
        for descriptor in (service.wakes, signals.descriptor):
            self._poll.register(descriptor, select.POLLIN)
        if listener is not None:
            self._poll.register(listener.descriptor, select.POLLIN)

    def run(self) -> int:
        """Serve; return the exit code."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(_TICK_MS)}
            for descriptor in ready & {self._service.wakes, self._signals.descriptor}:
                os.read(descriptor, 2**12)
            if self._listener is not None and self._listener.descriptor in ready:
                self._accept(self._listener)
            if self._is_hung():
                return self._give_up() if self._lasting() else self._restart()
            if self._signals.count:
                return self._drain()
            if self._listener is None and self._is_left():
                return 0

    def _accept(self, listener: Listener) -> None:
        descriptor = listener.accept()
        if descriptor is None:
            return
        channel = Channel(descriptor, descriptor)
        limit = self._service.limits.max_clients
        if len(self._service.connections) >= limit:
            full = UsageError(f"there are {limit} clients", accepted=f"up to {limit}")
            with suppress(OSError):
                answer = encode_error(0, Cause.QUEUE_FULL, full, fatal=True)
                channel.write_some([memoryview(part) for part in answer])
            channel.close()
            return
        self._service.log.info("client %d: connected", self._next)
        hello_within = self._service.limits.message_timeout_ms / 1e3
        self._service.add(Connection(self._next, channel, self._service, hello_within=hello_within))
        self._next += 1

    def _is_left(self) -> bool:
        """Tell whether the single client has gone.

        Whoever has inherited the client's end keeps the stream open beyond the client's own
        death; its number is no longer that of the parent then.
        """
        connections = self._service.connections
        orphaned = os.getppid() != self._parent and any(
            connection.channel.passes_descriptors for connection in connections
        )
        return orphaned or all(connection.over.is_set() for connection in connections)

    def _is_hung(self) -> bool:
        return self._service.lanes.longest() * 1e3 > self._service.limits.watchdog_ms

    def _drain(self) -> int:
        """Take nothing more, answer what is in flight, and end."""
        service = self._service
        service.draining = True
        service.log.info("ending: what is in flight is answered, nothing more is taken")
        if self._listener is not None:
            self._listener.close()
        for connection in service.connections:
            connection.say_going()
        while any(connection.is_busy for connection in service.connections):
            if self._signals.count > 1:
                return 0
            if self._is_hung():
                return self._give_up()
            time.sleep(0.01)
        self._flush()
        return 0

    def _flush(self) -> None:
        """Give every client a moment to take its last answers."""
        until = time.monotonic() + _GRACE_S
        for connection in self._service.connections:
            connection.outbox.flush(max(0.0, until - time.monotonic()))

    def _give_up(self) -> int:
        """Answer everything with an error, and end."""
        error = _hung(self._service.limits.watchdog_ms)
        self._service.log.error("%s", error)
        for connection in self._service.connections:
            connection.answer_all(Cause.HUNG, error)
        self._flush()
        return error.exit_code

    def _lasting(self) -> bool:
        """Tell whether restarts have not helped."""
        now = time.monotonic()
        return sum(now - when < _WITHIN_S for when in self._restarted) >= _RESTARTS

    def _restart(self) -> NoReturn:
        """Answer what is in flight, and replace the process."""
        self._service.log.error("%s", _hung(self._service.limits.watchdog_ms))
        until = time.monotonic() + _GRACE_S
        held = [
            _hold(connection)
            for connection in self._service.connections
            if connection.freeze(Cause.HUNG, _hung(self._service.limits.watchdog_ms), until)
        ]
        counters = self._service.counters
        counters.add("restarts")
        counts = counters.snapshot() | {"clients": 0}
        # Those of connections that could not be stopped between two messages.
        counts["dropped"] = counts["accepted"] - counts["answered"] - counts["failed"]
        listener = None if self._listener is None else self._listener.descriptor
        restarted = [*self._restarted, time.monotonic()]
        replace_process(
            State(connections=held, listener=listener, counters=counts, restarted=restarted)
        )


def _hold(connection: Connection) -> HeldConnection:
    greeting, shared = connection.greeting, connection.shared
    memory = None
    if shared is not None:
        memory = HeldMemory(shared.descriptor, shared.slots, shared.slot_bytes)
    return HeldConnection(
        number=connection.number,
        reader=connection.channel.reader,
        writer=connection.channel.writer,
        greeting=None if greeting is None else (greeting.ordered, greeting.minor),
        memory=memory,
    )


def _hung(limit_ms: int) -> BackendError:
    return BackendError(
        f"the backend has not come back for {limit_ms} ms",
        remedy="the server restarts itself; give --watchdog more time if slices take that long",
    )
