"""Slices through the lanes: in order, several at once where that pays, and nothing lost."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from scanside.contract import Thresholds
from scanside.errors import BackendError, InputError
from scanside.lanes import Read, analyse
from scanside.pipeline import Pipeline, prepare

THRESHOLDS = Thresholds(gate=0.5, decision=0.9, mask=0.5, chosen="by hand")


class Backend:
    """The probability is the grey level; what it is called with is kept."""

    name = "stub"
    precision = "int8"

    def __init__(self, lanes: int, micro_batch: int, broken: int = -1) -> None:
        self.lanes, self.micro_batch, self._broken = lanes, micro_batch, broken
        self.batches: list[int] = []
        self.go = threading.Event()

    def classify(self, images: np.ndarray) -> np.ndarray:
        assert self.go.wait(10)
        self.batches.append(len(images))
        levels = images[:, 0, 0, :1]
        if self._broken in levels:
            raise BackendError("the device is gone")
        return (levels / 255).astype(np.float32)

    def segment(self, images: np.ndarray) -> np.ndarray:
        return np.ones((len(images), 256, 256), np.float32)


def read(level: int) -> Read:
    """A slice of one grey level; none for a negative one."""
    if level < 0:
        return Read(f"{level}", 0, "study", error=InputError("refused"))
    pixels = np.full((256, 256, 3), level, np.uint8)
    return Read(f"{level}", 0, "study", pixels=pixels, prepared=prepare(pixels))


def through(backend: Any, levels: list[int]) -> list[tuple[str, float | None]]:
    done = analyse(map(read, levels), Pipeline(backend, THRESHOLDS))
    threading.Timer(0.3, backend.go.set).start()  # until then slices wait
    return [(each.record.source, each.record.tumor_probability) for each in done]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("micro_batch", [1, 4])
def test_every_slice_comes_once_and_in_order(lanes: int, micro_batch: int) -> None:
    levels = [7, -1, *range(100, 130), -2, -3, 250]
    backend = Backend(lanes, micro_batch)
    wanted = [(f"{n}", None if n < 0 else pytest.approx(n / 255)) for n in levels]
    assert through(backend, levels) == wanted
    assert sum(backend.batches) == 32
    assert max(backend.batches) == micro_batch


def test_few_slices_are_shared_out_between_the_lanes() -> None:
    backend = Backend(2, 4)
    through(backend, list(range(6)))
    assert sum(backend.batches) == 6
    assert max(backend.batches) <= 3  # where one lane could have taken four


def test_what_was_done_before_a_failure_is_handed_on() -> None:
    backend = Backend(1, 4, broken=20)
    backend.go.set()
    done = analyse(map(read, range(40)), Pipeline(backend, THRESHOLDS))  # type: ignore[arg-type]
    found: list[int] = []
    with pytest.raises(BackendError, match="gone"):
        found.extend(int(each.record.source) for each in done)
    assert found == sorted(found)
    assert set(range(17)) <= set(found) <= set(range(40)) - {20}
