"""The requests of one client that have no answer yet: each gets one, in its turn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from scanside.errors import ScansideError, UsageError
from scanside.serve.answers import Answer, encode_error
from scanside.serve.codes import Cause
from scanside.serve.lanes import Job, Outcome
from scanside.serve.masks import mask_offset
from scanside.serve.requests import Frame, Refusal

if TYPE_CHECKING:
    from scanside.serve.counters import Counters
    from scanside.serve.limits import Limits
    from scanside.serve.outbox import Outbox

__all__ = ["Ledger"]


class Ledger:
    """What a client is owed.

    The reader adds, lanes answer, and either may find that the client has gone.

    Parameters
    ----------
    outbox
        Where answers go.
    limits
        What may be in flight.
    counters
        Where everything is counted.
    """

    def __init__(self, outbox: Outbox, limits: Limits, counters: Counters) -> None:
        self.ordered = False
        self._outbox: Final = outbox
        self._limits: Final = limits
        self._counters: Final = counters
        # Reentrant: an answer that can't be sent closes the ledger.
        self._changed: Final = threading.Condition(threading.RLock())
        self._jobs: Final[dict[int, Job]] = {}
        self._turns: Final[dict[int, Answer | None]] = {}
        self._held = 0
        self._closed = False

    def __bool__(self) -> bool:
        """Whether a request has no answer yet."""
        return bool(self._jobs)

    def __contains__(self, number: int) -> bool:
        """Whether a request of this id has no answer yet."""
        return number in self._jobs or number in self._turns

    def check_room(self, frame: Frame) -> None:
        """Refuse a frame that would be one too many.

        An answer that waits for its turn counts as what it answers did.

        Raises
        ------
        Refusal
            If so much is in flight already, or its slot is.
        """
        limits = self._limits
        with self._changed:
            count = max(len(self._jobs), len(self._turns))
            held = self._held + frame.held + sum(map(_size, self._turns.values()))
            slots = {job.frame.slot for job in self._jobs.values()}
        if count >= limits.max_in_flight or held > limits.max_bytes_in_flight:
            raise Refusal(
                Cause.QUEUE_FULL,
                UsageError(
                    f"{count} requests are in flight, with this one {held} bytes",
                    accepted=f"{limits.max_in_flight} requests, {limits.max_bytes_in_flight} bytes",
                    remedy="wait for an answer first",
                ),
            )
        if frame.slot is not None and frame.slot in slots:
            raise Refusal(
                Cause.SHARED_MEMORY, UsageError(f"slot {frame.slot} is that of a request in flight")
            )

    def add(self, job: Job) -> bool:
        """Enter a request that was accepted; false if the client has gone meanwhile."""
        with self._changed:
            if self._closed:
                return False
            self._counters.add("accepted")
            self._jobs[job.number] = job
            self._held += job.frame.held
            if self.ordered:
                self._turns[job.number] = None
        return True

    def refuse(self, number: int, refusal: Refusal) -> None:
        """Answer a request that was not accepted."""
        with self._changed:
            self._counters.add("refused")
            if self.ordered:
                self._turns[number] = None
            self._say(number, encode_error(number, refusal.cause, refusal.error))

    def wait_for_turns(self) -> None:
        """Wait while more answers wait for their turn than may be in flight, twice over.

        Refusals do so in a connection with answers in order: who goes on asking while an answer
        takes long is not read.
        """
        most = 2 * self._limits.max_in_flight
        with self._changed:
            self._changed.wait_for(lambda: len(self._turns) < most)

    def is_waiting(self, job: Job) -> bool:
        """Tell whether an answer is still wanted."""
        return self._jobs.get(job.number) is job

    def answer(self, job: Job, outcome: Outcome) -> None:
        """Send the answer to a request, or keep it until its turn comes.

        Nothing is written into a slot, and nothing sent, once the request is not waiting.
        """
        with self._changed:
            if not self.is_waiting(job):
                return
            if job.slot is not None and outcome.mask:
                offset = mask_offset(job.frame.size)
                job.slot[offset : offset + len(outcome.mask)] = outcome.mask
            self._counters.add(*outcome.counts)
            del self._jobs[job.number]
            self._held -= job.frame.held
            self._say(job.number, outcome.answer)
            if not self._jobs:
                self._changed.notify_all()

    def answer_all(self, cause: Cause, error: ScansideError) -> None:
        """Answer every request with the same error."""
        with self._changed:
            for job in list(self._jobs.values()):
                self.answer(job, Outcome(encode_error(job.number, cause, error), ("failed",)))

    def wait(self) -> None:
        """Wait until everything has been answered, or the client has gone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs)

    def close(self) -> bool:
        """Forget what is owed: nobody will read it; false if that was done before."""
        with self._changed:
            if self._closed:
                return False
            self._closed = True
            self._counters.add("dropped", by=len(self._jobs))
            self._jobs.clear()
            self._turns.clear()
            self._changed.notify_all()
        return True

    def _say(self, number: int, answer: Answer) -> None:
        """Send an answer, or keep it until its turn comes; the lock is held."""
        if number not in self._turns:
            self._outbox.send(answer)
            return
        self._turns[number] = answer
        # To send may close the ledger, which empties this.
        while self._turns:
            first, ready = next(iter(self._turns.items()))
            if ready is None:
                return
            del self._turns[first]
            self._changed.notify_all()
            self._outbox.send(ready)


def _size(answer: Answer | None) -> int:
    return 0 if answer is None else sum(memoryview(part).nbytes for part in answer)
