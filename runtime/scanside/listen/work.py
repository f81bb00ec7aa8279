"""The thread that looks at studies, one after the other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from scanside.discretion import discreet
from scanside.errors import BackendError, DeviceLostError, OutputError, ScansideError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from scanside.listen.audit import Audit
    from scanside.listen.metrics import Metrics
    from scanside.listen.studies import Claim, Outcome, Studies
    from scanside.writers.dicom.context import EncodedObject

__all__ = ["Analyse", "Analysis", "NotYet", "Worker"]

_MOST_ERRORS: Final = 3
"""Errors of the backend in a row after which the process ends: a device that has failed so often is
not coming back in this process, and whoever supervises it starts another one."""


class Analysis(NamedTuple):
    """What a study came to.

    Attributes
    ----------
    outcome
        ``complete``, ``indeterminate`` or ``incomplete``.
    objects
        The encoded result.
    seconds
        What its parts took.
    """

    outcome: Outcome
    objects: tuple[EncodedObject, ...]
    seconds: Mapping[str, float] = {}


class NotYet(NamedTuple):
    """A study that is not complete, and may still become so.

    Attributes
    ----------
    reason
        What is missing; it names no patient attribute.
    """

    reason: str


class Analyse(Protocol):
    """Makes a result of a study's files; an overdue study gets one in any case."""

    def __call__(self, claim: Claim) -> Analysis | NotYet:
        """Analyse a study.

        Raises
        ------
        ScansideError
            If it can't be done now.
        """


class Worker:
    """Looks at studies when they are due.

    Parameters
    ----------
    studies
        The studies.
    analyse
        What is done with each.
    audit, metrics
        What is noted.
    wakes
        Set when there is something new to deliver.
    """

    def __init__(
        self,
        studies: Studies,
        analyse: Analyse,
        audit: Audit,
        metrics: Metrics,
        wakes: Sequence[threading.Event],
    ) -> None:
        self._studies: Final = studies
        self._analyse: Final = analyse
        self._audit: Final = audit
        self._metrics: Final = metrics
        self._wakes: Final = wakes
        self._errors = 0

    def run(self, stop: threading.Event, pause: float = 0.25) -> None:
        """Look at what is due until told to stop.

        Parameters
        ----------
        stop
            Ends it after the study at hand.
        pause
            Seconds between two looks when nothing is due, at most.

        Raises
        ------
        BackendError
            If the backend fails again and again.
        OutputError
            If the disk fails; it can be called again.
        """
        self._studies.put_back()
        while not stop.is_set():
            if not self.step():
                stop.wait(min(pause, self._studies.seconds_to_next()))

    def step(self) -> bool:
        """Look at one study; return whether one was due.

        Raises
        ------
        BackendError
            If the backend has failed too often in a row, or its device is lost.
        OutputError
            If the disk fails.
        """
        claim = self._studies.claim()
        if claim is None:
            return False
        started = time.perf_counter()
        try:
            with discreet("analysing a study"):
                found = self._analyse(claim)
            if isinstance(found, Analysis):
                self._finish(claim, found, time.perf_counter() - started)
            else:
                self._studies.wait(claim, found.reason)
                self._audit.write("study waits", study=claim.study_uid, reason=found.reason)
        except BackendError as error:
            self._failed(claim, error)
            self._errors += 1
            if self._errors >= _MOST_ERRORS or isinstance(error, DeviceLostError):
                raise
        except OutputError:
            raise  # the disk's fault, not the study's: it is looked at again
        except ScansideError as error:
            self._failed(claim, error)
        else:
            self._errors = 0
        return True

    def _finish(self, claim: Claim, found: Analysis, seconds: float) -> None:
        fresh = self._studies.finish(claim, found.outcome, found.objects)
        self._metrics.analysed.observe(seconds)
        if fresh:
            self._metrics.results.labels(found.outcome).inc()
        self._audit.write(
            "study finished" if fresh else "study unchanged",
            study=claim.study_uid,
            instances=len(claim.files),
            outcome=found.outcome,
            objects=[encoded.kind for encoded in found.objects],
            seconds={**found.seconds, "all": round(seconds, 3)},
        )
        for wake in self._wakes:
            wake.set()

    def _failed(self, claim: Claim, error: ScansideError) -> None:
        left = self._studies.fail(claim, str(error))
        self._audit.write(
            "study left as failed" if left else "study failed",
            study=claim.study_uid,
            reason=str(error),
        )
