"""The streaming path: files in, records and pictures out, in order and in flat memory.

One thread reads and prepares the next slices, this thread runs the models, one thread encodes
and writes pictures. A slice's record is handed on once its pictures are on disk.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError
from scanside.pipeline import Prepared, prepare
from scanside.preprocess import Window, apply_window, fill_missing
from scanside.readers.image import read_file, source_name
from scanside.records import SliceResult
from scanside.streams import InOrder, prefetch
from scanside.writers.files import MASKS, OVERLAYS, OutputFolder
from scanside.writers.pictures import mask_png, overlay_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from scanside.pipeline import Pipeline, Result

__all__ = ["Analysed", "Options", "analyse_files"]

_READ_AHEAD: Final = 8
"""Slices; some tens of milliseconds of models' work, and at most 8 decoded slices in memory."""

_WRITE_BEHIND: Final = 16
"""Slices whose pictures may be under way."""


class Options(NamedTuple):
    """How slices are read.

    Attributes
    ----------
    window
        The window of deep slices; none for 8-bit ones.
    fill
        Let a grey slice count as FLAIR that stands in for the other two sequences.
    spacing
        Millimetres between rows and between columns; none where they are not known.
    """

    window: Window | None = None
    fill: bool = False
    spacing: tuple[float, float] | None = None


class Analysed(NamedTuple):
    """A slice's record, and what the record does not hold.

    Attributes
    ----------
    file
        The file it comes from.
    record
        The record.
    result
        What the pipeline found; none for a rejected slice.
    """

    file: Path
    record: SliceResult
    result: Result | None


@dataclass(frozen=True, slots=True)
class _Read:
    """A slice that was read and prepared, or why it was not."""

    file: Path
    index: int
    pixels: NDArray[np.generic] | None
    prepared: Prepared | None
    error: InputError | None
    decode_ms: float


def analyse_files(
    files: Sequence[Path],
    pipeline: Pipeline,
    options: Options,
    *,
    root: Path,
    output: OutputFolder | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Analysed]:
    """Analyse every slice of the files.

    Parameters
    ----------
    files
        The files, in the order of the results.
    pipeline
        The loaded pipeline.
    options
        How slices are read.
    root
        The folder that the pictures' paths are relative to; every file lies in it.
    output
        Where pictures of slices with a region are written; none for no pictures.
    stop
        Asked before each slice; once it is true, what was begun is finished and no more is.

    Yields
    ------
    Analysed
        One for each slice, in order. A slice or file that is not accepted is rejected, and the
        rest goes on.

    Raises
    ------
    BackendError
        If the device fails.
    OutputError
        If a picture can't be written.
    """
    names = _PictureNames(files, root)
    writing = InOrder[Analysed](_WRITE_BEHIND)
    with (
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="scanside-write") as pool,
        closing(prefetch(_read_all(files, options), _READ_AHEAD)) as ahead,
    ):
        for read in ahead:
            if stop():
                break
            result = None
            if read.prepared is not None:
                result = pipeline.analyse_prepared([read.prepared])[0]
            job: Future[None] | None = None
            mask = overlay = None
            if output is not None and result is not None and result.tumor:
                mask, overlay = names.of(read.file, read.index)
                job = pool.submit(_write_pictures, output, mask, overlay, read, result, options)
            record = _record(read, result, pipeline, options, (mask, overlay))
            yield from writing.add(Analysed(read.file, record, result), job)
        yield from writing.drain()


def _read_all(files: Iterable[Path], options: Options) -> Iterator[_Read]:
    for file in files:
        index = 0
        started = time.perf_counter()
        try:
            for piece in read_file(file):
                decode_ms = round((time.perf_counter() - started) * 1e3, 3)
                index = piece.index
                yield _prepared(file, index, piece.pixels, decode_ms, options)
                index += 1
                started = time.perf_counter()
        except InputError as error:
            yield _Read(file, index, None, None, error, 0.0)


def _prepared(
    file: Path, index: int, pixels: NDArray[np.generic], decode_ms: float, options: Options
) -> _Read:
    try:
        prepared = prepare(pixels, window=options.window, fill=options.fill)
    except InputError as error:
        return _Read(file, index, None, None, error, decode_ms)
    return _Read(file, index, pixels, prepared, None, decode_ms)


def _record(
    read: _Read,
    result: Result | None,
    pipeline: Pipeline,
    options: Options,
    pictures: tuple[str | None, str | None],
) -> SliceResult:
    source = source_name(read.file)
    if result is None:
        reason = str(read.error).removeprefix(f"{source}: ")
        return SliceResult(source=source, index=read.index, status="rejected", reason=reason)
    region = result.region
    area = None if region is None else region.area
    spacing = options.spacing
    return SliceResult(
        source=source,
        index=read.index,
        status=result.status,
        reason=result.reason,
        tumor_probability=result.tumor_probability,
        tumor=result.tumor,
        segmented=result.segmented,
        area_px=area,
        area_mm2=None if area is None or spacing is None else area * spacing[0] * spacing[1],
        components=None if region is None else region.components,
        box=None if region is None else region.box,
        filled=result.filled,
        mask=pictures[0],
        overlay=pictures[1],
        backend=pipeline.backend.name,
        precision=pipeline.backend.precision,
        timings_ms={"decode": read.decode_ms, **result.timings_ms},
    )


def _write_pictures(
    output: OutputFolder, mask: str, overlay: str, read: _Read, result: Result, options: Options
) -> None:
    if result.region is None or read.pixels is None:
        return
    pixels = fill_missing(read.pixels) if result.filled else read.pixels
    shown = pixels if options.window is None else apply_window(pixels, options.window)
    output.write(mask, mask_png(result.region.mask))
    output.write(overlay, overlay_png(shown.astype("uint8", copy=False), result.region.mask))


class _PictureNames:
    """Names for pictures: the slice's own path, made unique where two differ by suffix only."""

    def __init__(self, files: Sequence[Path], root: Path) -> None:
        self._root = root
        stems = Counter(file.with_suffix("") for file in files)
        self._shared = {stem for stem, number in stems.items() if number > 1}

    def of(self, file: Path, index: int) -> tuple[str, str]:
        stem = file if file.with_suffix("") in self._shared else file.with_suffix("")
        name = source_name(stem.relative_to(self._root)) + (f"_p{index:03d}" if index else "")
        return f"{MASKS}/{name}_mask.png", f"{OVERLAYS}/{name}_overlay.png"
