"""One client: its messages in, its answers out."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import BackendError, ScansideError, UsageError
from scanside.serve import wire
from scanside.serve.answers import encode_error
from scanside.serve.channel import Channel, EndOfStreamError
from scanside.serve.codes import Cause, DrainFlag, HelloFlag, Kind
from scanside.serve.lanes import Job, Outcome
from scanside.serve.ledger import Ledger
from scanside.serve.outbox import Outbox
from scanside.serve.requests import Refusal, accept
from scanside.serve.shared import Shared, attach
from scanside.serve.wire import BODIES, Header, WireError

if TYPE_CHECKING:
    from scanside.serve.service import Service

__all__ = ["Connection", "Greeting"]

_WITHOUT_MASK: Final = 2**13
"""Bytes of an answer without its mask, at most."""

_GRACE_S: Final = 1.0
"""How long a client has to take the error that ends its connection."""


class Greeting(NamedTuple):
    """What a client said in HELLO."""

    ordered: bool
    minor: int


class _FatalError(Exception):
    """What ends a connection, after an ERROR that says so."""

    def __init__(self, cause: Cause, error: ScansideError) -> None:
        super().__init__(str(error))
        self.cause: Final = cause
        self.error: Final = error


class Connection:
    """One client.

    One thread reads (`run`); the lanes answer. Neither ever waits for the client to read.

    Parameters
    ----------
    number
        For the log.
    channel
        Its bytes.
    service
        What serves it.
    greeting, shared
        After a restart: what there was.
    hello_within
        Seconds that it has for HELLO: a silent one would keep others out. None for no limit.
    """

    def __init__(
        self,
        number: int,
        channel: Channel,
        service: Service,
        greeting: Greeting | None = None,
        shared: Shared | None = None,
        *,
        hello_within: float | None = None,
    ) -> None:
        self.number: Final = number
        self.channel: Final = channel
        self.greeting = greeting
        self.shared = shared
        self.outbox: Final = Outbox(channel, self._lost)
        self.over: Final = threading.Event()
        self._hello_within: Final = hello_within
        self._service: Final = service
        self._limits: Final = service.limits
        self._ledger: Final = Ledger(self.outbox, service.limits, service.counters)
        self._ledger.ordered = greeting is not None and greeting.ordered
        # Held while a message is read; a restart takes it, so that none is cut.
        self._between_messages: Final = threading.Lock()
        # Changed under that lock: no further message is read, and the reader closes the channel.
        self._leaving = False
        self._drain: int | None = None
        self._fixed: Final = memoryview(bytearray(wire.HEADER_BYTES + wire.MAX_BODY))

    def run(self) -> None:
        """Read messages until the connection ends."""
        unread = self._limits.max_bytes_in_flight + _WITHOUT_MASK * self._limits.max_in_flight
        try:
            while self._read_next():
                # Only a client that has more in flight than it may ever waits here.
                self.outbox.wait_below(unread)
                self._ledger.wait_for_turns()
            self._conclude()
        except EndOfStreamError as end:
            if not end.between:
                self._service.log.warning("client %d: it ended within a message", self.number)
            self._conclude()
        except _FatalError as fatal:
            self._service.log.warning("client %d: %s", self.number, fatal)
            self.outbox.send(encode_error(0, fatal.cause, fatal.error, fatal=True))
            self.outbox.flush(_GRACE_S)
        finally:
            self._lost()
            self.channel.close()
            self._service.left(self)

    def _read_next(self) -> bool:
        """Wait for a message, and do what it asks; false after the last one."""
        came = self.channel.wait(self._hello_within if self.greeting is None else None)
        with self._between_messages:
            self._leaving = True  # also by an exception
            if not came:
                silent = BackendError(
                    "no HELLO came", accepted=f"HELLO within {self._limits.message_timeout_ms} ms"
                )
                raise _FatalError(Cause.TIMEOUT, silent)
            goes_on = not self.over.is_set() and self._read_message()
            self._leaving = not goes_on
        return goes_on

    @property
    def is_busy(self) -> bool:
        """Whether a request has no answer yet."""
        return bool(self._ledger)

    def is_waiting(self, job: Job) -> bool:
        """Tell whether an answer is still wanted."""
        return self._ledger.is_waiting(job)

    def answer(self, job: Job, outcome: Outcome) -> None:
        """Send the answer to a request, or keep it until its turn comes."""
        self._ledger.answer(job, outcome)

    def answer_all(self, cause: Cause, error: ScansideError) -> None:
        """Answer every request in flight with the same error."""
        self._ledger.answer_all(cause, error)

    def freeze(self, cause: Cause, error: ScansideError, until: float) -> bool:
        """Answer what is in flight with an error and stop between two messages, for good.

        Parameters
        ----------
        cause, error
            The answer.
        until
            On the clock `time.monotonic`.

        Returns
        -------
        bool
            Whether the client is to be served further. False where a message is still on its way,
            the answers are not taken, or the client had said its last message: it gets what it is
            owed, and its connection ends.
        """
        if not self._between_messages.acquire(timeout=max(0.0, until - time.monotonic())):
            return False
        self.answer_all(cause, error)
        if self._leaving:
            self.over.wait(max(0.0, until - time.monotonic()))
            return False
        return self.outbox.flush(max(0.0, until - time.monotonic())) and not self.over.is_set()

    def say_going(self) -> None:
        """Tell the client that the server ends."""
        if self.greeting is not None:
            body = BODIES.drain.encode(wire.Drain(DrainFlag.GOING))
            self.outbox.send((wire.encode(Kind.DRAIN, 0, body),))

    def _read_message(self) -> bool:
        """Read a message and do what it asks; false after the last one."""
        until = time.monotonic() + self._limits.message_timeout_ms / 1e3
        descriptors: list[int] = []
        try:
            head = self._fixed[: wire.HEADER_BYTES]
            descriptors = self.channel.read_first(head, until)
            header = wire.decode_header(head)
            body = self._fixed[wire.HEADER_BYTES :][: header.body]
            self.channel.read(body, until)
            self._check_turn(header, descriptors)
            if header.kind == Kind.INFER:
                self._infer(header, BODIES.infer.decode(body), until)
                return True
            content = self._read_text(header.payload, until)
            return self._control(header, body, content, descriptors)
        except TimeoutError:
            late = BackendError(
                "a message took too long",
                accepted=f"{self._limits.message_timeout_ms} ms from its first byte to its last",
            )
            raise _FatalError(Cause.TIMEOUT, late) from None
        except WireError as error:
            raise _FatalError(Cause.PROTOCOL, error) from None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _check_turn(self, header: Header, descriptors: list[int]) -> None:
        if (self.greeting is None) is not (header.kind == Kind.HELLO):
            raise WireError(f"a message of kind {header.kind}", accepted="HELLO first, and once")
        if header.id == 0:
            raise WireError("a message with the id 0", accepted="another id")
        if descriptors and header.kind != Kind.ATTACH:
            raise WireError("descriptors with a message that is not ATTACH")

    def _read_text(self, size: int, until: float) -> bytes:
        if size > wire.MAX_TEXT:
            raise _too_large(size, wire.MAX_TEXT)
        content = bytearray(size)
        self.channel.read(memoryview(content), until)
        return bytes(content)

    def _control(
        self, header: Header, body: memoryview, content: bytes, descriptors: list[int]
    ) -> bool:
        """Do what a message asks that is not INFER; false after the last one."""
        number = header.id
        if header.kind == Kind.HELLO:
            self._hello(number, BODIES.client_hello.decode(body), wire.text(content))
        elif header.kind == Kind.PING:
            self.outbox.send((wire.encode(Kind.PING, number),))
        elif header.kind == Kind.STATS:
            stats = BODIES.stats.encode(self._service.counters.stats())
            self.outbox.send((wire.encode(Kind.STATS, number, stats),))
        elif header.kind == Kind.ATTACH:
            self._attach(number, BODIES.attach.decode(body), descriptors)
        elif header.kind == Kind.DRAIN:
            self._drain = number
            return False
        else:
            unknown = UsageError(
                f"a message of kind {header.kind}", accepted="a client's kinds of protocol 1.0"
            )
            self.outbox.send(encode_error(number, Cause.UNSUPPORTED, unknown))
        return True

    def _hello(self, number: int, hello: wire.ClientHello, name: str) -> None:
        if hello.major != wire.VERSION[0]:
            other = UsageError(
                f"protocol {hello.major}.{hello.minor}", accepted="{}.{}".format(*wire.VERSION)
            )
            raise _FatalError(Cause.VERSION, other)
        if hello.flags & ~int(HelloFlag.ORDERED):
            unknown = UsageError(f"flags {hello.flags:#x} in HELLO", accepted="0 or 1")
            raise _FatalError(Cause.UNSUPPORTED, unknown)
        ordered = bool(hello.flags & HelloFlag.ORDERED)
        self.greeting = Greeting(ordered, min(hello.minor, wire.VERSION[1]))
        self._ledger.ordered = ordered
        self._service.log.info("client %d: %r says hello", self.number, name)
        self.outbox.send(self._service.hello(number, self))

    def _attach(self, number: int, layout: wire.Attach, descriptors: list[int]) -> None:
        if self.shared is not None or len(descriptors) != 1:
            refused = UsageError(f"ATTACH with {len(descriptors)} descriptors", accepted="1, once")
            self.outbox.send(encode_error(number, Cause.SHARED_MEMORY, refused))
            return
        try:
            self.shared = attach(descriptors[0], layout, self._limits)
        except UsageError as error:
            self.outbox.send(encode_error(number, Cause.SHARED_MEMORY, error))
            return
        descriptors.clear()  # it is the memory's now
        self.outbox.send((wire.encode(Kind.ATTACH, number, BODIES.attach.encode(layout)),))

    def _infer(self, header: Header, asked: wire.Infer, until: float) -> None:
        number, limits = header.id, self._limits
        if number in self._ledger:
            raise WireError(f"the id {number} is in flight", accepted="another id")
        if header.payload > limits.max_payload:
            raise _too_large(header.payload, limits.max_payload)
        try:
            self._service.check_open()
            frame = accept(asked, header.payload, limits, self.shared)
            self._ledger.check_room(frame)
        except Refusal as refusal:
            self.channel.skip(header.payload, until)
            self._ledger.refuse(number, refusal)
            return
        slot = None
        if frame.slot is not None and self.shared is not None:
            content = slot = self.shared.slot(frame.slot)
        else:
            content = np.empty(frame.size, np.uint8).data
            self.channel.read(content, until)
        job = Job(self, number, frame, frame.pixels(content), slot, time.monotonic())
        if self._ledger.add(job):
            self._service.lanes.put(job)

    def _conclude(self) -> None:
        """After the last message: wait for what is in flight, unless nobody would read it."""
        if self._drain is None and self.channel.peer_is_gone():
            return
        self._ledger.wait()
        if self._drain is not None:
            body = BODIES.drain.encode(wire.Drain(0))
            self.outbox.send((wire.encode(Kind.DRAIN, self._drain, body),))
        self.outbox.flush(None)

    def _lost(self) -> None:
        """End the connection: nobody reads any more, or nothing more will be said."""
        if not self._ledger.close():
            return
        self.outbox.close()
        self.over.set()
        if self.shared is not None:
            self.shared.close()
            self.shared = None
        self.channel.shut()
        self._service.wake()


def _too_large(size: int, limit: int) -> _FatalError:
    error = UsageError(f"a payload of {size} bytes", accepted=f"up to {limit} bytes")
    return _FatalError(Cause.TOO_LARGE, error)
