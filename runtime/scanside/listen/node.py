"""The node: its threads, and how they begin and end."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
import warnings
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scanside.discretion import LIBRARIES, tell_discreetly
from scanside.errors import OutputError
from scanside.listen.audit import Audit
from scanside.listen.metrics import Metrics
from scanside.listen.outbox import Outbox
from scanside.listen.purge import purge
from scanside.listen.receive import Receiver
from scanside.listen.send import Sender
from scanside.listen.spool import Spool
from scanside.listen.status import read_status
from scanside.listen.store import Store, read_only
from scanside.listen.studies import Studies
from scanside.listen.tls import server_context
from scanside.listen.work import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.listen.config import ListenConfig
    from scanside.listen.work import Analyse

__all__ = ["Node", "favour_answers", "silence_libraries"]

_DRAIN: Final = 20.0
"""Seconds that open associations get to end; below the 90 after which systemd kills."""

_PURGE_EVERY: Final = 60.0
"""Seconds."""

_DISK_PAUSE: Final = 10.0
"""Seconds until a thread that could not use the disk tries again."""

_SWITCH: Final = 0.0005
"""Seconds after which a thread that computes lets another one run. An answer takes some twenty
turns (reads of the socket, writes of the file, statements of SQLite), each of which may wait this
long for the thread that looks at studies: with Python's 5 ms, 50 ms and more."""


class Node:
    """A node on an open spool.

    Parameters
    ----------
    config
        The configuration.
    analyse
        What is done with each study.
    now
        Seconds since the epoch.

    Raises
    ------
    OutputError
        If the spool or a port can't be used.
    UsageError
        If a TLS file can't be used.
    """

    def __init__(
        self, config: ListenConfig, analyse: Analyse, now: Callable[[], float] = time.time
    ) -> None:
        self._config: Final = config
        self._now: Final = now
        self._stop: Final = threading.Event()
        # A signal handler may write to a pipe at any point, but not set an event.
        self._told_to_stop, self._tell = os.pipe()
        self._failure: BaseException | None = None
        with ExitStack() as stack:
            folder = Path(config.spool.folder)
            self._store: Final = Store(folder)
            stack.callback(self._store.close)
            stack.callback(os.close, self._told_to_stop)
            stack.callback(os.close, self._tell)
            self._spool: Final = Spool(self._store, config.spool, config.study, now)
            self._audit: Final = Audit(folder)
            self._metrics: Final = Metrics()
            begun = self._spool.recover()
            self._audit.write("node starts", begun_anew=begun)
            outbox = Outbox(self._store, config.retry, now)
            wakes = [threading.Event() for _ in config.destinations]
            senders = [
                Sender(destination, config.node, outbox, self._audit, self._metrics)
                for destination in config.destinations
            ]
            studies = Studies(
                self._store,
                self._spool,
                config.study.deadline_seconds,
                {destination.name: destination.objects for destination in config.destinations},
                now,
            )
            worker = Worker(studies, analyse, self._audit, self._metrics, wakes)
            tls = None if config.node.tls is None else server_context(config.node.tls)
            self._receiver: Final = Receiver(config, self._spool, self._audit, self._metrics, tls)
            stack.callback(self._receiver.stop, 0.0)
            self._watch()
            if config.monitoring.port:
                stack.callback(self._metrics.serve(config.monitoring.port))
            self._threads: Final = [
                self._thread("work", partial(worker.run, self._stop)),
                self._thread("purge", self._purge),
                *(
                    self._thread(f"send-{sender.name}", partial(sender.run, self._stop, wake))
                    for sender, wake in zip(senders, wakes, strict=True)
                ),
            ]
            self._open: Final = stack.pop_all()

    @property
    def port(self) -> int:
        """The port that is open for associations."""
        return self._receiver.port

    def run(self) -> None:
        """Work until `stop` is called, then drain.

        What is under way is finished; what is not yet delivered is delivered after the next start.

        Raises
        ------
        Exception
            What ended one of the threads.
        """
        for thread in self._threads:
            thread.start()
        self._receiver.start()
        try:
            os.read(self._told_to_stop, 1)
        finally:
            self._receiver.stop(_DRAIN)
            self._stop.set()
            for thread in self._threads:
                thread.join()
            self._audit.write("node stops")
            self._open.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Make `run` drain and return; any thread or signal handler may call it."""
        with suppress(OSError):  # it has ended already
            os.write(self._tell, b".")

    def _thread(self, name: str, work: Callable[[], object]) -> threading.Thread:
        def guarded() -> None:
            try:
                while not self._tried(name, work):
                    self._stop.wait(_DISK_PAUSE)
            except BaseException as error:  # noqa: BLE001 - raised by `run`
                self._failure = self._failure or error
                self.stop()

        return threading.Thread(target=guarded, name=f"scanside-{name}")

    def _tried(self, name: str, work: Callable[[], object]) -> bool:
        """Do a thread's work; return whether it is over, rather than kept up by the disk."""
        try:
            work()
        except OutputError as error:  # a full disk is full for a while: ending would mend nothing
            self._audit.write("disk fails", thread=name, reason=str(error))
            return self._stop.is_set()
        return True

    def _purge(self) -> None:
        while not self._stop.wait(_PURGE_EVERY):
            policy, most = self._config.purge, self._config.spool.max_gb * 1e9
            if gone := purge(self._store, self._spool, policy, most, self._now):
                self._audit.write("purged", objects=gone)

    def _watch(self) -> None:
        def status() -> dict[str, float]:
            # A connection of its own: to count all rows holds up no answer.
            with read_only(self._store.folder) as read:
                found = read_status(read, self._now)
            return {
                "waiting": found.studies["receiving"] + found.studies["processing"],
                "failed": found.studies["failed"],
                "pending": sum(each.pending for each in found.destinations.values()),
                "dead": sum(each.dead for each in found.destinations.values()),
            }

        watch = self._metrics.watch
        watch("scanside_studies_waiting", "To be looked at", lambda: status()["waiting"])
        watch("scanside_studies_failed", "Left as failed", lambda: status()["failed"])
        watch("scanside_objects_pending", "To be delivered", lambda: status()["pending"])
        watch("scanside_objects_dead", "Refused for good", lambda: status()["dead"])
        watch("scanside_spool_bytes", "Received and made", lambda: self._spool.used)
        watch("scanside_connections", "Open", lambda: self._receiver.connections)


def silence_libraries() -> None:
    """Keep what libraries log and warn, values of data sets in it, from any output.

    `scanside.discretion.quiet` does so while something is done; a node's threads read data sets at
    any time. A thread of pynetdicom that what it receives has ended says so in one line.
    """
    threading.excepthook = tell_discreetly
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")


def favour_answers() -> None:
    """Have what is received wait less for the analysis, which is a thread of the same process.

    Threads change more often. What was loaded by now, modules, dictionaries and models, is kept
    from the cyclic garbage collector, which stops all threads for 50 ms to look through it, and
    finds nothing.
    """
    sys.setswitchinterval(_SWITCH)
    gc.collect()
    gc.freeze()
