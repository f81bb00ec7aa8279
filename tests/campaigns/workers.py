"""Cases in worker processes that outlive them: a worker that dies or hangs fails its case alone."""

from __future__ import annotations

import multiprocessing
import resource
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["Done", "Task", "run_all"]

Task = tuple[str, int]

_DEAD_AFTER: Final = 60.0
_RENEWED_AT: Final = 450.0
"""Megabytes: a worker's peak stays, and the next case would be blamed for it."""


class Done(NamedTuple):
    """How a case went.

    Attributes
    ----------
    task
        The case.
    outcome
        What it returned.
    failed
        What it raised, or how its worker ended; empty where neither.
    seconds, megabytes
        Processor time that it took in its worker, and the worker's largest resident size so far.
    """

    task: Task
    outcome: str
    failed: str
    seconds: float
    megabytes: float


def run_all(tasks: Iterable[Task], run: Callable[[Task], str], workers: int) -> Iterator[Done]:
    """Run cases.

    Parameters
    ----------
    tasks
        The cases.
    run
        Does one, in a worker.
    workers
        How many run side by side.

    Yields
    ------
    Done
        Each case once it has ended, in no order.
    """
    waiting = iter(tasks)
    pool = [_Worker(run) for _ in range(workers)]
    for worker in pool:
        worker.give(next(waiting, None))
    while busy := [worker for worker in pool if worker.task is not None]:
        for worker in busy:
            done = worker.poll()
            if done is not None:
                yield done
                worker.give(next(waiting, None))


class _Worker:
    """A process, and the case that it is at."""

    def __init__(self, run: Callable[[Task], str]) -> None:
        self._run = run
        self._start()

    def _start(self) -> None:
        self._connection, other = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(other, self._run), daemon=True
        )
        self._process.start()
        other.close()
        self.task: Task | None = None
        self._since = 0.0

    def give(self, task: Task | None) -> None:
        """Hand over a case; none ends the process."""
        self.task, self._since = task, time.perf_counter()
        self._connection.send(task)
        if task is None:
            self._process.join()

    def poll(self) -> Done | None:
        """Return how the case went, once it has ended."""
        assert self.task is not None
        try:
            if self._connection.poll(0.002):
                done: Done = self._connection.recv()
                if done.megabytes > _RENEWED_AT:
                    self.give(None)
                    self._start()
                return done
        except (EOFError, OSError):
            return self._dead("died")
        if time.perf_counter() - self._since > _DEAD_AFTER:
            return self._dead("hangs")
        return None

    def _dead(self, why: str) -> Done:
        task = self.task
        assert task is not None
        self._process.kill()
        self._process.join()
        failed = f"the worker {why} (code {self._process.exitcode})"
        seconds = time.perf_counter() - self._since
        self._start()
        return Done(task, "", failed, seconds, 0.0)


def _serve(connection: Connection, run: Callable[[Task], str]) -> None:
    while (task := connection.recv()) is not None:
        started = time.process_time()
        try:
            outcome, failed = run(task), ""
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            outcome, failed = "", f"{type(error).__name__}: {error}"
        seconds = time.process_time() - started
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        connection.send(Done(task, outcome, failed, seconds, megabytes))
