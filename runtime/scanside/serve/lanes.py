"""The threads that compute: as many as the backend has lanes, each at one request at a time."""

from __future__ import annotations

import math
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from scanside.errors import BackendError, InputError, InternalError, ScansideError
from scanside.serve.answers import Answer, Spent, encode_error, encode_result, rejected
from scanside.serve.codes import Cause
from scanside.serve.nullpipeline import NULL

if TYPE_CHECKING:
    import logging

    import numpy as np
    from numpy.typing import NDArray

    from scanside.pipeline import Result
    from scanside.preprocess import Window
    from scanside.serve.requests import Frame

__all__ = ["Analyser", "Job", "Lanes", "Outcome"]

_IDLE: Final = math.inf
"""When a lane began that computes nothing."""


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
        self, pixels: NDArray[np.generic], *, window: Window | None = None, fill: bool = False
    ) -> Result:
        """Analyse one slice."""


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


class Lanes:
    """Threads that take jobs in the order they came.

    Parameters
    ----------
    pipeline
        What computes.
    log
        Where defects go.
    """

    def __init__(self, pipeline: Analyser, log: logging.Logger) -> None:
        self._pipeline: Final = pipeline
        self._null: Final = pipeline.backend.name == NULL
        self._log: Final = log
        self._jobs: Final = queue.SimpleQueue[Job]()
        self._begun: Final = [_IDLE] * pipeline.backend.lanes
        for number in range(pipeline.backend.lanes):
            threading.Thread(
                target=self._run, args=(number,), name=f"scanside-lane-{number}", daemon=True
            ).start()

    def put(self, job: Job) -> None:
        """Take a job."""
        self._jobs.put(job)

    def longest(self) -> float:
        """Return how many seconds the longest computation under way has taken."""
        return max(0.0, time.monotonic() - min(self._begun))

    def _run(self, lane: int) -> None:
        while True:
            job = self._jobs.get()
            if not job.client.is_waiting(job):
                continue
            begun = self._begun[lane] = time.monotonic()
            outcome = self._work(job, begun)
            self._begun[lane] = _IDLE
            job.client.answer(job, outcome)
            del job, outcome  # or they would be held until the next one comes

    def _work(self, job: Job, begun: float) -> Outcome:
        """Compute an answer; nothing that is raised goes further than this."""
        frame = job.frame
        queued = begun - job.received
        if frame.deadline_s is not None and queued > frame.deadline_s:
            late = BackendError(
                f"the request had waited for {queued * 1e3:.0f} ms",
                accepted=f"a begin within {frame.deadline_s * 1e3:.0f} ms",
                remedy="have fewer in flight, or give them more time",
            )
            return Outcome(encode_error(job.number, Cause.TIMEOUT, late), ("failed",))
        try:
            result = self._analyse(job)
            counts = ("answered",) if result.status == "ok" else ("answered", result.status)
            spent = Spent(queued, time.monotonic() - job.received)
            answer, mask = encode_result(job.number, frame, result, spent, null=self._null)
        except ScansideError as error:
            return Outcome(encode_error(job.number, Cause.BACKEND, error), ("failed",))
        except Exception as error:  # noqa: BLE001 - a request must not end the server, nor stay unanswered
            self._log.exception("a request failed")
            defect = InternalError(
                f"{type(error).__name__}: {error}", remedy="please report it with the server's log"
            )
            return Outcome(encode_error(job.number, Cause.INTERNAL, defect), ("failed",))
        return Outcome(answer, counts, mask)

    def _analyse(self, job: Job) -> Result:
        frame = job.frame
        try:
            return self._pipeline.analyse(job.pixels, window=frame.window, fill=frame.fill)
        except InputError as error:
            return rejected(error)
