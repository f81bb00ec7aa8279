"""Prepared slices through the models, several side by side; records and pictures out, in order.

As many lanes as the backend has each take a slice through both models and write its pictures: on
a CPU, slices side by side on one core each need a quarter less time than one slice after the other
on all cores, because no core waits for another between two layers. One thread reads and prepares
the next slices. Where the backend says so a lane classifies several at once. A slice's record is
handed on in order, once its pictures are on disk.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import BackendError, InputError, OutputError
from scanside.preprocess import apply_window, fill_missing
from scanside.records import SliceResult
from scanside.streams import InOrder, prefetch
from scanside.writers.pictures import mask_png, overlay_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.pipeline import Pipeline, Prepared, Result
    from scanside.preprocess import Window
    from scanside.study.grid import Spacing
    from scanside.writers.files import OutputFolder

__all__ = ["Analysed", "Pictures", "Read", "analyse"]

_READ_AHEAD: Final = 4
"""Slices; some tens of milliseconds of models' work, and at most 4 decoded slices in memory."""

_BEHIND: Final = 4
"""Slices that may be done, or wait for a lane, beyond what fills the lanes once more; each holds
its pixels."""


class Pictures(NamedTuple):
    """Names of a slice's pictures in the output folder."""

    mask: str
    overlay: str


@dataclass(frozen=True, slots=True)
class Read:
    """A slice that was read and prepared, or why it was not.

    Attributes
    ----------
    source, index
        What its record says.
    study
        What the record of its study says.
    pixels, window
        As read, and the window of its series, for the overlay.
    prepared
        What the models get; none if it was not accepted.
    error
        Why it was not accepted.
    decode_ms
        What reading took.
    spacing
        Distances in millimetres; none where they are not known.
    pictures
        Names of the pictures, should there be a region; none for no pictures.
    """

    source: str
    index: int
    study: str
    pixels: NDArray[np.generic] | None = None
    window: Window | None = None
    prepared: Prepared | None = None
    error: InputError | None = None
    decode_ms: float = 0.0
    spacing: Spacing | None = None
    pictures: Pictures | None = None


class Analysed(NamedTuple):
    """A slice's record, and what the record does not hold.

    Attributes
    ----------
    study
        What the record of its study calls it.
    record
        The record.
    result
        What the pipeline found; none for a rejected slice.
    spacing
        Distances in millimetres; none where they are not known.
    """

    study: str
    record: SliceResult
    result: Result | None
    spacing: Spacing | None = None


def analyse(
    slices: Iterable[Read],
    pipeline: Pipeline,
    *,
    output: OutputFolder | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Analysed]:
    """Analyse slices.

    Parameters
    ----------
    slices
        Made one after the other in a thread of their own, a few ahead.
    pipeline
        The loaded pipeline.
    output
        Where pictures of slices with a region are written; none for no pictures.
    stop
        Asked before each slice; once it is true, what was begun is finished and no more is.

    Yields
    ------
    Analysed
        One for each slice, in order. A slice that is not accepted is rejected, and the rest goes
        on.

    Raises
    ------
    BackendError
        If the device fails; what was done until then has been handed on.
    OutputError
        If a picture can't be written.
    """
    lanes, most = pipeline.backend.lanes, pipeline.backend.micro_batch
    waiting = _Waiting(lanes, most)

    def work() -> None:
        _analyse_group(waiting.take(), pipeline, output)

    under_way = InOrder[Analysed](lanes * (2 * most - 1) + _BEHIND)
    with (
        ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="scanside-lane") as pool,
        closing(prefetch(slices, _READ_AHEAD)) as ahead,
    ):
        try:
            for read in ahead:
                if stop():
                    break
                job = waiting.put(read)
                pool.submit(work)
                yield from under_way.add(job)
            yield from under_way.drain()
        except (BackendError, OutputError):
            # What other lanes have done is on disk: its records must not be missing.
            yield from under_way.rescue()
            raise


class _Waiting:
    """Slices that wait for a lane.

    Parameters
    ----------
    lanes
        How many lanes take from them.
    most
        How many a lane takes at once, at most: no more than its share, so that the last ones are
        spread over all lanes.
    """

    def __init__(self, lanes: int, most: int) -> None:
        self._lanes, self._most = lanes, most
        self._held: deque[_Job] = deque()
        self._lock = Lock()

    def put(self, read: Read) -> Future[Analysed]:
        """Add a slice and return the promise of what is found in it."""
        job = _Job(read, Future())
        with self._lock:
            self._held.append(job)
        return job.done

    def take(self) -> list[_Job]:
        """Take the next slices; none where another lane has taken them."""
        with self._lock:
            share = min(self._most, -(-len(self._held) // self._lanes))
            taken = [self._held.popleft() for _ in range(share)]
        return [job for job in taken if job.done.set_running_or_notify_cancel()]


class _Job(NamedTuple):
    """A slice, and the promise of what is found in it."""

    read: Read
    done: Future[Analysed]


def _analyse_group(jobs: Sequence[_Job], pipeline: Pipeline, output: OutputFolder | None) -> None:
    """Analyse slices together and keep the promises, one by one."""
    try:
        prepared = [job.read.prepared for job in jobs if job.read.prepared is not None]
        results = iter(pipeline.analyse_prepared(prepared) if prepared else [])
        for read, done in jobs:
            result = None if read.prepared is None else next(results)
            done.set_result(_finished(read, result, pipeline, output))
    except BaseException as error:  # noqa: BLE001 - handed over, not swallowed
        for _, done in jobs:
            if not done.done():
                done.set_exception(error)


def _finished(
    read: Read, result: Result | None, pipeline: Pipeline, output: OutputFolder | None
) -> Analysed:
    """Write a slice's pictures and return its record."""
    if result is None:
        return Analysed(read.study, _rejected(read), None, read.spacing)
    pictures = read.pictures if result.tumor and output is not None else None
    if pictures is not None and output is not None:
        _write_pictures(output, pictures, read, result)
    record = _record(read, result, pipeline, pictures)
    return Analysed(read.study, record, result, read.spacing)


def _rejected(read: Read) -> SliceResult:
    reason = str(read.error).removeprefix(f"{read.source}: ")
    return SliceResult(source=read.source, index=read.index, status="rejected", reason=reason)


def _record(
    read: Read, result: Result, pipeline: Pipeline, pictures: Pictures | None
) -> SliceResult:
    region = result.region
    area = None if region is None else region.area
    spacing = read.spacing
    return SliceResult(
        source=read.source,
        index=read.index,
        status=result.status,
        reason=result.reason,
        tumor_probability=result.tumor_probability,
        tumor=result.tumor,
        segmented=result.segmented,
        area_px=area,
        area_mm2=None if area is None or spacing is None else area * spacing.row * spacing.column,
        components=None if region is None else region.components,
        box=None if region is None else region.box,
        filled=result.filled,
        mask=None if pictures is None else pictures.mask,
        overlay=None if pictures is None else pictures.overlay,
        backend=pipeline.backend.name,
        precision=pipeline.backend.precision,
        timings_ms={"decode": read.decode_ms, **result.timings_ms},
    )


def _write_pictures(output: OutputFolder, names: Pictures, read: Read, result: Result) -> None:
    if result.region is None or read.pixels is None:
        return
    grey = read.pixels.shape[2:] in ((), (1,))
    pixels = fill_missing(read.pixels) if grey else read.pixels
    shown = pixels if read.window is None else apply_window(pixels, read.window)
    output.write(names.mask, mask_png(result.region.mask))
    output.write(names.overlay, overlay_png(shown.astype("uint8", copy=False), result.region.mask))
