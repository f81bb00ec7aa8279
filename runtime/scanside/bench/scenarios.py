"""scanside's own scenarios: one slice at a time, and the stream of `scanside run`."""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2

from scanside.bench.recorder import Recorder
from scanside.bench.workload import order
from scanside.errors import InputError, InternalError
from scanside.preprocess import fill_missing
from scanside.runner import analyse_files
from scanside.writers.files import OutputFolder, output_errors, write_atomic
from scanside.writers.records import record_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.bench.schema import Settings
    from scanside.bench.workload import Slice
    from scanside.pipeline import Pipeline, Result
    from scanside.records import SliceResult
    from scanside.runner import Options

__all__ = ["Run", "latency", "stream", "warm_up"]

_FILES: Final = 512
"""Files of one round of the stream: enough that its beginning and end don't show, and few enough
that the pictures of a long measurement replace each other instead of filling the disk."""

_FEWEST_WARM: Final = 16
"""Slices of a warm-up, however short: the rate of LoadGen's scenarios is chosen by them."""


class Run(NamedTuple):
    """What is measured.

    Attributes
    ----------
    pipeline
        The loaded pipeline.
    slices
        The slices.
    positive
        bool ``[N]``: their classes on the first pass.
    settings
        What was asked for.
    options
        How slices are read.
    """

    pipeline: Pipeline
    slices: Sequence[Slice]
    positive: NDArray[np.bool_]
    settings: Settings
    options: Options

    def order(self) -> Iterator[int]:
        """Return the endless order of slices."""
        return order(self.positive, self.settings.positive_rate, self.settings.seed)


def warm_up(run: Run) -> float:
    """Analyse slices until the warm-up is over; return the slices a second."""
    started = time.perf_counter()
    for n, at in enumerate(run.order(), start=1):
        _analyse(run, at)
        spent = time.perf_counter() - started
        if spent * 1e3 >= run.settings.warm_up_ms and n >= _FEWEST_WARM:
            return n / spent
    raise InternalError("the order of slices ended")


def latency(run: Run) -> tuple[Recorder, float]:
    """Analyse one slice after the other; the clock covers `Pipeline.analyse`.

    Returns
    -------
    Recorder
        A sample a slice.
    float
        Seconds that it took in all.
    """
    recorder = Recorder()
    settings = run.settings
    started = time.perf_counter()
    for at in run.order():
        before = time.perf_counter()
        if before - started >= settings.duration_s and len(recorder) >= settings.iterations:
            return recorder, before - started
        result = _analyse(run, at)
        spent = (time.perf_counter() - before) * 1e3
        recorder.add_results(spent, spent, [result], [bool(run.positive[at])], prepared=False)
    raise InternalError("the order of slices ended")


def _analyse(run: Run, at: int) -> Result:
    options = run.options
    return run.pipeline.analyse(run.slices[at].pixels, window=options.window, fill=options.fill)


def stream(run: Run) -> tuple[Recorder, float]:
    """Analyse files as ``scanside run --output`` does: records and pictures are written.

    The latency of a sample is the time since the record before it; its mean is what a slice
    costs while reading, models and writing overlap.

    Returns
    -------
    Recorder
        A sample a slice.
    float
        Seconds that it took in all.

    Raises
    ------
    InputError
        If a file holds several slices, or is no longer accepted.
    OutputError
        If the folder for temporary files can't be written to.
    """
    recorder = Recorder()
    settings = run.settings
    with output_errors("the folder for temporary files"), TemporaryDirectory() as scratch:
        expected = list(itertools.islice(run.order(), _FILES))
        files = _files(run, expected, Path(scratch))
        started = last = time.perf_counter()

        def over() -> bool:
            spent = time.perf_counter() - started
            return spent >= settings.duration_s and len(recorder) >= settings.iterations

        with (
            closing(OutputFolder(Path(scratch) / "results")) as output,
            output.open_results() as lines,
        ):
            writer = record_writer("jsonl", lines, name=str(output.results))
            while not over():
                analysed = analyse_files(files, run.pipeline, run.options, output=output, stop=over)
                for at, each in zip(expected, analysed, strict=False):
                    writer.write(each.record)
                    now = time.perf_counter()
                    _add(recorder, each.record, (now - last) * 1e3, bool(run.positive[at]))
                    last = now
        return recorder, last - started


def _add(recorder: Recorder, record: SliceResult, spent: float, expected: bool) -> None:  # noqa: FBT001 - positional by nature
    if record.status == "rejected":
        raise InputError(f"{record.source}: {record.reason}", remedy="measure again without it")
    stages = dict(record.timings_ms)
    work = stages["classify"] + stages.get("segment", 0.0)
    recorder.astray += record.segmented != expected
    recorder.not_finite += record.tumor_probability is None
    recorder.add(spent, work, (1, int(record.segmented)), stages)


def _files(run: Run, places: Sequence[int], folder: Path) -> list[Path]:
    """Give every place of the stream a name of its own, as the slices of a folder have."""
    originals = [each.file for each in run.slices if each.file is not None]
    if len(set(originals)) != len(originals):
        raise InputError(
            "a file holds several slices",
            accepted="files of one slice each for --scenario stream",
            remedy="measure stacks with --scenario latency",
        )
    sources = {}
    for at in sorted(set(places)):
        each = run.slices[at]
        sources[at] = each.file or folder / "golden" / f"{at}.png"
        if each.file is None:
            write_atomic(sources[at], _png(each.pixels))
    links = []
    (folder / "slices").mkdir()
    for number, at in enumerate(places):
        link = folder / "slices" / f"slice_{number:04d}{sources[at].suffix}"
        link.symlink_to(sources[at].resolve())
        links.append(link)
    return links


def _png(pixels: NDArray[np.generic]) -> bytes:
    rgb = pixels if pixels.ndim > 2 else fill_missing(pixels)  # noqa: PLR2004 - grey
    done, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))  # type: ignore[arg-type]
    if not done:
        raise InternalError("OpenCV did not encode a golden slice")
    return encoded.tobytes()
