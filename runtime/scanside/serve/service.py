"""What all connections share: the models, the lanes, the counters, and what HELLO says."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from scanside.errors import BackendError
from scanside.preprocess import CHANNELS, MAX_SIDE, MIN_SIDE
from scanside.serve import wire
from scanside.serve.codes import Cause, HelloFlag, Kind
from scanside.serve.described import Described, WeightsLicense
from scanside.serve.lanes import Lanes
from scanside.serve.nullpipeline import NULL
from scanside.serve.requests import DTYPES, Refusal
from scanside.serve.wire import BODIES

if TYPE_CHECKING:
    import logging

    from scanside.bundle import Bundle
    from scanside.serve.answers import Answer
    from scanside.serve.connection import Connection
    from scanside.serve.counters import Counters
    from scanside.serve.lanes import Analyser
    from scanside.serve.limits import Limits

__all__ = ["Service"]


class Service:
    """The part of the server that is the same for every client.

    Parameters
    ----------
    bundle, pipeline
        What answers.
    limits
        Of each connection.
    counters
        What has happened so far.
    log
        Where it is said.
    streaming, self_test
        How it was started; whether golden slices were run.
    """

    def __init__(
        self,
        bundle: Bundle,
        pipeline: Analyser,
        limits: Limits,
        *,
        counters: Counters,
        log: logging.Logger,
        streaming: bool,
        self_test: bool,
    ) -> None:
        self.limits: Final = limits
        self.counters: Final = counters
        self.log: Final = log
        self.lanes: Final = Lanes(pipeline, log, streaming=streaming)
        self.draining = False
        self._bundle: Final = bundle
        self._pipeline: Final = pipeline
        self._flags: Final = (
            (HelloFlag.STREAMING if streaming else 0)
            | (HelloFlag.SELF_TEST_PASSED if self_test else HelloFlag.SELF_TEST_SKIPPED)
            | (HelloFlag.NULL_BACKEND if pipeline.backend.name == NULL else 0)
            | (HelloFlag.FALLBACK if pipeline.fallback is not None else 0)
        )
        self._lock: Final = threading.Lock()
        self._connections: Final[dict[int, Connection]] = {}
        self._version: Final = _version()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def connections(self) -> list[Connection]:
        """The connections there are."""
        with self._lock:
            return list(self._connections.values())

    @property
    def wakes(self) -> int:
        """A descriptor that becomes readable when something has happened."""
        return self._wake_reader

    def check_open(self) -> None:
        """Refuse a request while the server ends.

        Raises
        ------
        Refusal
            Then.
        """
        if self.draining:
            going = BackendError("the server is ending", remedy="start another one")
            raise Refusal(Cause.DRAINING, going)

    def wake(self) -> None:
        """Have the main thread look."""
        with suppress(BlockingIOError):  # it has not come to look yet
            os.write(self._wake_writer, b"\0")

    def add(self, connection: Connection) -> None:
        """Begin to serve a client."""
        with self._lock:
            self._connections[connection.number] = connection
        self.counters.add("clients")
        name = f"scanside-client-{connection.number}"
        threading.Thread(target=connection.run, name=name, daemon=True).start()

    def left(self, connection: Connection) -> None:
        """Forget a client."""
        with self._lock:
            del self._connections[connection.number]
        self.counters.add("clients", by=-1)
        self.log.info("client %d: gone", connection.number)
        self.wake()

    def hello(self, number: int, connection: Connection) -> Answer:
        """Return HELLO for a client.

        Parameters
        ----------
        number
            The id of its HELLO.
        connection
            The client, which has said it.
        """
        manifest, backend, limits = self._bundle.manifest, self._pipeline.backend, self.limits
        flags, minor = self._flags, wire.VERSION[1]
        if connection.greeting is not None:
            flags |= HelloFlag.ORDERED if connection.greeting.ordered else 0
            minor = connection.greeting.minor
        if connection.channel.passes_descriptors:
            flags |= HelloFlag.SHARED_MEMORY
        content = msgspec.json.encode(self._described())
        body = BODIES.server_hello.encode(
            wire.ServerHello(
                major=wire.VERSION[0],
                minor=minor,
                flags=flags,
                max_in_flight=limits.max_in_flight,
                max_payload=limits.max_payload,
                max_bytes_in_flight=limits.max_bytes_in_flight,
                max_shared_bytes=limits.max_shared_bytes,
                max_slots=limits.max_slots,
                queue_depth=self.lanes.queue_depth,
                watchdog_ms=limits.watchdog_ms,
                message_timeout_ms=limits.message_timeout_ms,
                min_side=MIN_SIDE,
                max_side=MAX_SIDE,
                channels=len(CHANNELS),
                dtypes=sum(1 << code for code in DTYPES),
                gate=manifest.thresholds.gate,
                decision=manifest.thresholds.decision,
                mask=manifest.thresholds.mask,
                pid=os.getpid(),
                restarts=self.counters["restarts"],
                bundle_sha256=bytes.fromhex(self._bundle.manifest_sha256),
                version=wire.fixed_text(self._version, 24),
                backend=wire.fixed_text(backend.name, 16),
                precision=wire.fixed_text(backend.precision, 8),
                bundle=wire.fixed_text(self._bundle.label, 96),
                license=wire.fixed_text(manifest.license.name, 64),
            )
        )
        return (wire.encode(Kind.HELLO, number, body, len(content)), content)

    @property
    def summary(self) -> str:
        """What it serves, in a few words."""
        backend = self._pipeline.backend
        return f"{self._bundle.label} {backend.precision} on {backend.name}"

    def _described(self) -> Described:
        manifest, pipeline = self._bundle.manifest, self._pipeline
        tested = self._flags & HelloFlag.SELF_TEST_PASSED
        return Described(
            scanside=self._version,
            bundle=self._bundle.label,
            bundle_sha256=self._bundle.manifest_sha256,
            description=manifest.description,
            input=manifest.input,
            license=WeightsLicense(name=manifest.license.name, notice=manifest.license.notice),
            backend=pipeline.backend.name,
            precision=pipeline.backend.precision,
            computes=pipeline.backend.describe(),
            fallback=pipeline.fallback,
            reason=pipeline.reason,
            self_test="passed" if tested else "skipped",
            limits=self.limits._asdict(),
        )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scanside")
    except PackageNotFoundError:
        return "not installed"
