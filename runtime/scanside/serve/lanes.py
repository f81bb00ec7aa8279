"""The threads that compute: as many as the backend has lanes, each at one request at a time."""

from __future__ import annotations

import math
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from scanside.errors import (
    BackendError,
    DeviceLostError,
    InputError,
    InternalError,
    ScansideError,
    out_of_memory,
)
from scanside.pipeline import Prepared, Result, prepare
from scanside.serve.answers import Answer, Spent, encode_error, encode_result, rejected
from scanside.serve.codes import Cause
from scanside.serve.nullpipeline import NULL

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.preprocess import Window
    from scanside.serve.requests import Frame

__all__ = ["Analyser", "Job", "Lanes", "Outcome"]

_IDLE: Final = (math.inf, 1)
"""When a lane began that computes nothing, and with how many jobs."""

_FAILED: Final = (-math.inf, 1)
"""The same of a lane that will not come back."""

_ON_THEIR_WAY: Final = 2
"""Jobs between client and lanes, so that no lane waits for the client."""


class Analyser(Protocol):
    """What computes: a `Pipeline`, or what stands in for it."""

    @property
    def backend(self) -> Any:  # noqa: ANN401 - a Backend, or the null one
        """What it computes on."""

    @property
    def fallback(self) -> str | None:
        """As `Pipeline` has it."""

    @property
    def reason(self) -> str | None:
        """As `Pipeline` has it."""

    def analyse(
        self,
        pixels: NDArray[np.generic],
        *,
        window: Window | None = None,
        fill: bool = False,
        aspect: float = 1.0,
    ) -> Result:
        """Analyse one slice."""

    def analyse_prepared(self, slices: Sequence[Prepared]) -> list[Result]:
        """Analyse prepared slices together."""


class Client(Protocol):
    """Who takes the answers."""

    def is_waiting(self, job: Job) -> bool:
        """Tell whether an answer is still wanted."""

    def answer(self, job: Job, outcome: Outcome) -> None:
        """Take an answer."""


class Outcome(NamedTuple):
    """What became of a request.

    Attributes
    ----------
    answer
        The message.
    counts
        The counters that it adds to.
    mask
        What goes into the slot.
    """

    answer: Answer
    counts: tuple[str, ...]
    mask: bytes | memoryview = b""


@dataclass(slots=True, eq=False)
class Job:
    """A request that was accepted.

    Attributes
    ----------
    client, number
        Who asked, and the id.
    frame, pixels
        What was asked; the pixels are a view of the slot, where they are in one.
    slot
        The slot's bytes.
    received
        On the clock `time.monotonic`.
    """

    client: Client
    number: int
    frame: Frame
    pixels: NDArray[np.generic]
    slot: memoryview | None
    received: float

    def is_late(self, now: float) -> bool:
        """Tell whether it has waited beyond its deadline."""
        deadline = self.frame.deadline_s
        return deadline is not None and now - self.received > deadline


class Lanes:
    """Threads that take jobs in the order they came.

    Parameters
    ----------
    pipeline
        What computes.
    log
        Where defects go.
    streaming
        Take several waiting jobs at once, where the backend gains by it. Otherwise each is
        answered as soon as it can be.
    """

    def __init__(self, pipeline: Analyser, log: logging.Logger, *, streaming: bool) -> None:
        self._pipeline: Final = pipeline
        self._null: Final = pipeline.backend.name == NULL
        self._log: Final = log
        self._jobs: Final = queue.SimpleQueue[Job]()
        self._most: Final[int] = pipeline.backend.micro_batch if streaming else 1
        self._begun: Final = [_IDLE] * pipeline.backend.lanes
        for number in range(pipeline.backend.lanes):
            threading.Thread(
                target=self._run, args=(number,), name=f"scanside-lane-{number}", daemon=True
            ).start()

    @property
    def queue_depth(self) -> int:
        """Number of jobs under way with which no lane waits, each taking as many as it may.

        Those that are computed, so many waiting that a lane's share of them is full, and two on
        their way to or from the client.
        """
        return len(self._begun) * (2 * self._most - 1) + _ON_THEIR_WAY

    def put(self, job: Job) -> None:
        """Take a job."""
        self._jobs.put(job)

    def longest(self) -> float:
        """Return how many seconds the longest computation under way has taken, for one job."""
        now = time.monotonic()
        return max(0.0, *((now - begun) / jobs for begun, jobs in self._begun))

    def _run(self, lane: int) -> None:
        try:
            while True:
                self._answer(self._take(), lane)
        except Exception:  # noqa: BLE001 - whatever it is, requests must not wait for ever
            self._log.exception("a lane has failed: the server restarts itself")
            self._begun[lane] = _FAILED  # the watchdog sees it

    def _answer(self, taken: list[Job], lane: int) -> None:
        # A function of its own, or a lane would hold the last frames until the next ones come.
        jobs = [job for job in taken if job.client.is_waiting(job)]
        begun = time.monotonic()
        self._begun[lane] = (begun, max(1, len(jobs)))
        outcomes = self._work(jobs, begun)
        self._begun[lane] = _IDLE
        for job, outcome in outcomes:
            job.client.answer(job, outcome)

    def _take(self) -> list[Job]:
        """Wait for a job, and take others that wait: no more than this lane's share of them."""
        jobs = [self._jobs.get()]
        share = min(self._most, -(-(1 + self._jobs.qsize()) // len(self._begun)))
        with suppress(queue.Empty):  # another lane may have been faster
            while len(jobs) < share:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _work(self, jobs: list[Job], begun: float) -> list[tuple[Job, Outcome]]:
        """Compute answers; nothing that is raised goes further, but for a lost device."""
        late = [job for job in jobs if job.is_late(begun)]
        jobs = [job for job in jobs if job not in late]
        outcomes = [(job, _late(job, begun)) for job in late]
        try:
            found = list(zip(jobs, self._analyse(jobs), strict=True))
            return outcomes + [(job, self._outcome(job, result, begun)) for job, result in found]
        except DeviceLostError:
            raise  # only a new process can use the device: the server replaces itself
        except ScansideError as error:
            cause, failure = Cause.BACKEND, error
        except MemoryError:
            cause, failure = Cause.INTERNAL, out_of_memory()
        except Exception as error:  # noqa: BLE001 - no request may end the server or stay unanswered
            self._log.exception("a request failed")
            cause, failure = (
                Cause.INTERNAL,
                InternalError(
                    f"{type(error).__name__}: {error}",
                    remedy="please report it with the server's log",
                ),
            )
        return outcomes + [(job, _failed(job, cause, failure)) for job in jobs]

    def _outcome(self, job: Job, result: Result, begun: float) -> Outcome:
        spent = Spent(begun - job.received, time.monotonic() - job.received)
        answer, mask = encode_result(job.number, job.frame, result, spent, null=self._null)
        counts = ("answered",) if result.status == "ok" else ("answered", result.status)
        return Outcome(answer, counts, mask)

    def _analyse(self, jobs: list[Job]) -> list[Result]:
        """Return a result for each job; a frame that is not accepted is rejected."""
        if len(jobs) == 1:
            try:
                return [self._pipeline.analyse(jobs[0].pixels, **jobs[0].frame.asked)]
            except InputError as error:
                return [rejected(error)]
        prepared = [_prepared(job) for job in jobs]
        accepted = [held for held in prepared if isinstance(held, Prepared)]
        results = iter(self._pipeline.analyse_prepared(accepted) if accepted else ())
        return [held if isinstance(held, Result) else next(results) for held in prepared]


def _prepared(job: Job) -> Prepared | Result:
    try:
        return prepare(job.pixels, **job.frame.asked)
    except InputError as error:
        return rejected(error)


def _late(job: Job, begun: float) -> Outcome:
    error = BackendError(
        f"the request had waited for {(begun - job.received) * 1e3:.0f} ms",
        accepted="a begin within its deadline_ms",
        remedy="have fewer in flight, or give them more time",
    )
    return _failed(job, Cause.TIMEOUT, error)


def _failed(job: Job, cause: Cause, error: ScansideError) -> Outcome:
    return Outcome(encode_error(job.number, cause, error), ("failed",))
