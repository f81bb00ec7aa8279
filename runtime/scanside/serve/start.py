"""How a server comes up: the client's stream claimed, the models loaded and checked."""

from __future__ import annotations

import fcntl
import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.bundle import open_bundle
from scanside.errors import ParityError, ScansideError, UsageError
from scanside.pipeline import Pipeline
from scanside.serve.answers import encode_error
from scanside.serve.channel import Channel
from scanside.serve.codes import Cause
from scanside.serve.connection import Connection, Greeting
from scanside.serve.counters import Counters
from scanside.serve.handover import State, take_state
from scanside.serve.limits import MIB, Limits
from scanside.serve.listener import Listener
from scanside.serve.nullpipeline import NULL, NullPipeline
from scanside.serve.server import Server, Signals
from scanside.serve.service import Service
from scanside.serve.shared import Shared
from scanside.verification import verify

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from scanside.bundle import Bundle
    from scanside.contract import Precision

__all__ = ["Settings", "serve"]

_FIRST_PRIVATE: Final = 3
"""Descriptors below are stdin, stdout and stderr."""


class Settings(NamedTuple):
    """How a server is started.

    Attributes
    ----------
    bundle, bundle_sha256, backend, precision, streaming
        As for `scanside.Pipeline.open`; the backend may be ``null``.
    socket
        Where clients connect; none for the single one on stdin and stdout.
    self_test
        Whether golden slices are run first.
    limits
        Of each client.
    memory_limit
        MiB of memory that the process may have for itself; none for no limit.
    """

    bundle: Path | None
    bundle_sha256: str | None
    backend: str
    precision: Precision | None
    streaming: bool
    socket: Path | None
    self_test: bool
    limits: Limits
    memory_limit: int | None


def serve(settings: Settings, log: logging.Logger) -> int:
    """Serve until the end; return the exit code.

    Parameters
    ----------
    settings
        How.
    log
        Where it is said.

    Raises
    ------
    UsageError
        If there is no stream to serve, or no socket can be made.
    ParityError
        If the golden slices give something else than the bundle recorded.
    ScansideError
        As for `scanside.open_bundle` and `scanside.Pipeline.open`.
    """
    signals = Signals()
    with signals.caught():
        state = take_state()
        listener, streams = _streams(settings, state)
        try:
            service = _service(settings, state, log)
            for number, channel in enumerate(streams):
                service.add(_connection(number, channel, service, state))
            restarted = [] if state is None else state.restarted
            return Server(service, signals, listener, restarted).run()
        except ScansideError as error:
            _tell(streams, error)
            raise
        finally:
            if listener is not None:
                listener.close()


def _streams(settings: Settings, state: State | None) -> tuple[Listener | None, list[Channel]]:
    """Return what there is to serve: where clients come from, and those that are there."""
    if state is not None:
        listener = None
        if settings.socket is not None:
            listener = Listener(settings.socket, state.listener)
        return listener, [Channel(held.reader, held.writer) for held in state.connections]
    if settings.socket is not None:
        return Listener(settings.socket), []
    return None, [_claim_stdio()]


def _claim_stdio() -> Channel:
    """Take stdin and stdout for the protocol alone; whatever else is printed goes to stderr."""
    try:
        if os.isatty(0) or os.isatty(1):
            raise UsageError(
                "stdin or stdout is a terminal",
                accepted="pipes, files, or one end of a socket pair: docs/protocol.md",
                remedy="start it from a program, or with --socket PATH",
            )
        reader, writer = (fcntl.fcntl(n, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE) for n in (0, 1))
    except OSError:
        raise UsageError("stdin or stdout is closed", accepted="both open") from None
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fstat(2)
    except OSError:
        os.dup2(nothing, 2)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return Channel(reader, writer)


def _connection(number: int, channel: Channel, service: Service, state: State | None) -> Connection:
    """Return a connection of a single client, or one that survived a restart."""
    if state is None:
        return Connection(number + 1, channel, service)
    held = state.connections[number]
    greeting, memory = held.greeting, held.memory
    return Connection(
        held.number,
        channel,
        service,
        greeting=None if greeting is None else Greeting(*greeting),
        shared=None
        if memory is None
        else Shared(memory.descriptor, memory.slots, memory.slot_bytes),
    )


def _service(settings: Settings, state: State | None, log: logging.Logger) -> Service:
    """Load the models and check them."""
    _limit_memory(settings.memory_limit)
    bundle = open_bundle(settings.bundle, manifest_sha256=settings.bundle_sha256)
    tested = False
    if settings.backend == NULL:
        log.warning("the null backend computes nothing: every result is made up")
        precision = settings.precision or bundle.manifest.default_precision
        pipeline: Pipeline | NullPipeline = NullPipeline(precision, bundle.manifest.thresholds)
    else:
        pipeline = Pipeline.open(
            bundle,
            backend=settings.backend,
            precision=settings.precision,
            streaming=settings.streaming,
        )
        for said in (pipeline.fallback, pipeline.reason):
            if said is not None:
                log.info("%s", said)
        if settings.self_test:
            _self_test(bundle, pipeline)
            tested = True
        else:
            log.warning("the golden self-test was skipped")
    service = Service(
        bundle,
        pipeline,
        settings.limits,
        counters=Counters(None if state is None else state.counters),
        log=log,
        streaming=settings.streaming,
        self_test=tested,
    )
    log.info("serving %s", service.summary)
    return service


def _self_test(bundle: Bundle, pipeline: Pipeline) -> None:
    failed = [check for check in verify(bundle, pipeline, quick=True) if not check.passed]
    if failed:
        listed = "; ".join(f"{c.name}: {c.found}, wanted {c.wanted}" for c in failed)
        raise ParityError(
            f"{bundle.label} {pipeline.backend.precision} on {pipeline.backend.name}: the golden"
            f" self-test failed: {listed}",
            remedy="do not use this bundle on this device; scanside verify says more",
        )


def _limit_memory(mebibytes: int | None) -> None:
    """Have the kernel refuse this process more memory of its own than that."""
    if mebibytes is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = mebibytes * MIB
    if hard not in (resource.RLIM_INFINITY,) and wanted > hard:
        raise UsageError(
            f"--memory-limit {mebibytes}",
            accepted=f"up to {hard // MIB}: the limit of this session",
        )
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _tell(streams: list[Channel], error: ScansideError) -> None:
    """Say to clients that are there already why there will be no server."""
    answer = encode_error(0, Cause.START, error, fatal=True)
    for channel in streams:
        with suppress(OSError):  # it has gone
            channel.write_some([memoryview(part) for part in answer])
