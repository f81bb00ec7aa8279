"""The lanes: jobs in groups where that pays, and a lane that fails is noticed."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scanside.errors import BackendError, DeviceLostError, InputError
from scanside.pipeline import Result
from scanside.preprocess import Window
from scanside.serve import wire
from scanside.serve.codes import Cause, MaskForm
from scanside.serve.lanes import Job, Lanes, Outcome
from scanside.serve.requests import Frame
from scanside.serve.wire import BODIES, HEADER_BYTES
from scanside.study.grid import Spacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scanside.pipeline import Prepared

LOG = logging.getLogger("test")


class Backend:
    name, precision, lanes, micro_batch = "test", "fp32", 1, 4


class Pipeline:
    """Counts what it is given at once, and waits until it may begin."""

    backend, fallback, reason = Backend(), None, None

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.go = threading.Event()
        self.error: Exception | None = None

    def analyse(self, pixels: np.ndarray, **asked: Any) -> Result:
        self.go.wait(30)
        self.groups.append(1)
        if pixels.dtype != np.uint8 and asked["window"] is None:
            raise InputError("no window")
        return self._result()

    def analyse_prepared(self, slices: Sequence[Prepared]) -> list[Result]:
        self.groups.append(len(slices))
        return [self._result() for _ in slices]

    def _result(self) -> Result:
        if self.error is not None:
            raise self.error
        return Result("ok", None, 0.25, False, False, None, (), {})  # noqa: FBT003


class Client:
    def __init__(self, *, fails: bool = False) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.fails = fails

    def is_waiting(self, job: Job) -> bool:
        return job.number not in self.outcomes

    def answer(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job.number] = outcome
        if self.fails:
            raise KeyError(job.number)


def job(client: Client, number: int, dtype: str = "u1", deadline_s: float | None = None) -> Job:
    frame = Frame(
        shape=(64, 64, 3), dtype=np.dtype(dtype), size=64 * 64 * 3, window=None, spacing=None,
        fill=False, mask_form=MaskForm.NONE, slot=None, deadline_s=deadline_s,
    )  # fmt: skip
    return Job(client, number, frame, np.zeros((64, 64, 3), dtype), None, time.monotonic())


def settled(client: Client, count: int) -> dict[int, tuple[int, int]]:
    """Kind of each answer, and its cause or its status."""
    end = time.monotonic() + 30
    while len(client.outcomes) < count:
        assert time.monotonic() < end
        time.sleep(0.005)
    found = {}
    for number, outcome in client.outcomes.items():
        header = wire.decode_header(outcome.answer[0][:HEADER_BYTES])
        body = outcome.answer[0][HEADER_BYTES:]
        error = BODIES.error.decode(body).cause if header.kind == wire_error() else None
        found[number] = (header.kind, error if error is not None else body[0])
    return found


def wire_error() -> int:
    from scanside.serve.codes import Kind

    return int(Kind.ERROR)


@pytest.mark.parametrize(("streaming", "groups"), [(True, [1, 4, 4, 1]), (False, [1] * 10)])
def test_jobs_that_wait_are_taken_together_only_when_streaming(
    *, streaming: bool, groups: list[int]
) -> None:
    pipeline, client = Pipeline(), Client()
    lanes = Lanes(pipeline, LOG, streaming=streaming)
    lanes.put(job(client, 0))
    while not lanes.longest():
        time.sleep(0.001)  # until it has begun, alone
    for number in range(1, 10):
        lanes.put(job(client, number))
    pipeline.go.set()
    assert settled(client, 10) == dict.fromkeys(range(10), (3, 0))
    assert pipeline.groups == groups
    assert lanes.queue_depth == (9 if streaming else 3)


def test_each_of_a_group_gets_what_is_its_own() -> None:
    pipeline, client = Pipeline(), Client()
    lanes = Lanes(pipeline, LOG, streaming=True)
    lanes.put(job(client, 0))
    while not lanes.longest():
        time.sleep(0.001)
    lanes.put(job(client, 1))
    lanes.put(job(client, 2, "<u2"))  # rejected: it has no window
    lanes.put(job(client, 3, deadline_s=1e-6))  # too late
    lanes.put(job(client, 4))
    pipeline.go.set()
    found = settled(client, 5)
    assert found == {0: (3, 0), 1: (3, 0), 2: (3, 2), 3: (4, Cause.TIMEOUT), 4: (3, 0)}


@pytest.mark.parametrize(
    ("error", "cause"),
    [(BackendError("gone"), Cause.BACKEND), (ZeroDivisionError("defect"), Cause.INTERNAL)],
)
def test_a_failure_is_an_answer_for_each(error: Exception, cause: Cause) -> None:
    pipeline, client = Pipeline(), Client()
    pipeline.error = error
    pipeline.go.set()
    lanes = Lanes(pipeline, LOG, streaming=False)
    for number in range(3):
        lanes.put(job(client, number))
    assert settled(client, 3) == dict.fromkeys(range(3), (4, cause))
    assert lanes.longest() == 0.0


def test_memory_that_ran_out_is_called_no_defect() -> None:
    pipeline, client = Pipeline(), Client()
    pipeline.error = MemoryError("Unable to allocate 8.00 GiB")
    pipeline.go.set()
    Lanes(pipeline, LOG, streaming=False).put(job(client, 0))
    assert settled(client, 1) == {0: (4, Cause.INTERNAL)}
    assert b"there is not enough memory" in client.outcomes[0].answer[0]


@pytest.mark.parametrize("error", [None, DeviceLostError("the GPU is gone")])
def test_a_lane_that_fails_counts_as_hung_and_so_does_one_whose_device_is_lost(
    error: Exception | None,
) -> None:
    pipeline = Pipeline()
    pipeline.error = error
    pipeline.go.set()
    lanes = Lanes(pipeline, LOG, streaming=False)
    lanes.put(job(Client(fails=error is None), 1))
    end = time.monotonic() + 30
    while lanes.longest() < 1e9:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_window_and_spacing_reach_the_pipeline() -> None:
    seen = []

    class Watching(Pipeline):
        def analyse(self, pixels: np.ndarray, **asked: Any) -> Result:
            seen.append(asked)
            return super().analyse(pixels, **asked)

    pipeline, client = Watching(), Client()
    pipeline.go.set()
    asked = job(client, 1, "<u2")
    window = Window(0, 10)
    asked.frame = replace(asked.frame, window=window, spacing=Spacing(2.0, 1.0))
    Lanes(pipeline, LOG, streaming=False).put(asked)
    settled(client, 1)
    assert seen == [{"window": window, "fill": False, "aspect": 2.0}]
