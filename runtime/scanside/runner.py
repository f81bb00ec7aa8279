"""The streaming path: files in, records and pictures out, in order and in flat memory.

One thread reads and prepares the next slices. As many lanes as the backend has each take a slice
through both models and write its pictures: on a CPU, slices side by side on one core each need a
quarter less time than one slice after the other on all cores, because no core waits for another
between two layers. A slice's record is handed on in order, once its pictures are on disk.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import BackendError, InputError, OutputError
from scanside.pipeline import Prepared, prepare
from scanside.preprocess import Window, apply_window, fill_missing
from scanside.readers.image import read_pages, source_name
from scanside.records import MASKS, OVERLAYS, SliceResult
from scanside.streams import InOrder, prefetch
from scanside.writers.pictures import mask_png, overlay_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.pipeline import Pipeline, Result
    from scanside.readers.image import Page
    from scanside.study.grid import Spacing
    from scanside.writers.files import OutputFolder

__all__ = ["Analysed", "Options", "analyse_files"]

_READ_AHEAD: Final = 8
"""Slices; some tens of milliseconds of models' work, and at most 8 decoded slices in memory."""

_BEHIND: Final = 4
"""Slices that may be under way or done beyond those in the lanes, while an earlier one is not;
each holds its pixels."""

_LONGEST_STEM, _SHORT_STEM = 200, 50
"""Bytes of a stem that pictures are named after as it is, and characters kept of a longer one:
file systems allow 255 bytes."""


class Options(NamedTuple):
    """How slices are read.

    Attributes
    ----------
    window
        The window of deep slices; none for 8-bit ones.
    fill
        Let a grey slice count as FLAIR that stands in for the other two sequences.
    spacing
        Distances in millimetres; none where they are not known.
    """

    window: Window | None = None
    fill: bool = False
    spacing: Spacing | None = None


class Analysed(NamedTuple):
    """A slice's record, and what the record does not hold.

    Attributes
    ----------
    file, pages
        The file it comes from, and the number of slices in that file.
    record
        The record.
    result
        What the pipeline found; none for a rejected slice.
    """

    file: Path
    pages: int
    record: SliceResult
    result: Result | None


@dataclass(frozen=True, slots=True)
class _Read:
    """A slice that was read and prepared, or why it was not."""

    file: Path
    index: int
    pages: int = 1
    pixels: NDArray[np.generic] | None = None
    prepared: Prepared | None = None
    error: InputError | None = None
    decode_ms: float = 0.0


def analyse_files(
    files: Sequence[Path],
    pipeline: Pipeline,
    options: Options,
    *,
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
        If the device fails; what was done until then has been handed on.
    OutputError
        If a picture can't be written.
    """
    names = _PictureNames(files)
    lanes = pipeline.backend.lanes

    def work(read: _Read, pictures: tuple[str, str] | None) -> Analysed:
        if read.prepared is None:
            return Analysed(read.file, read.pages, _rejected(read), None)
        result = pipeline.analyse_prepared([read.prepared])[0]
        if not result.tumor:
            pictures = None
        elif output is not None and pictures is not None:
            _write_pictures(output, pictures, read, result, options)
        record = _record(read, result, pipeline, options, pictures)
        return Analysed(read.file, read.pages, record, result)

    under_way = InOrder[Analysed](lanes + _BEHIND)
    with (
        ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="scanside-lane") as pool,
        closing(prefetch(_read_all(files, options), _READ_AHEAD)) as ahead,
    ):
        try:
            for read in ahead:
                if stop():
                    break
                # A name is given to every slice, so that none depends on what another one shows.
                pictures = None if output is None else names.of(read.file, read.index)
                yield from under_way.add(pool.submit(work, read, pictures))
            yield from under_way.drain()
        except (BackendError, OutputError):
            # What other lanes have done is on disk: its records must not be missing.
            yield from under_way.rescue()
            raise


def _read_all(files: Iterable[Path], options: Options) -> Iterator[_Read]:
    for file in files:
        started = time.perf_counter()
        for page in read_pages(file):
            decode_ms = round((time.perf_counter() - started) * 1e3, 3)
            if page.pixels is None:
                yield _Read(file, page.number, page.pages, error=page.error)
            else:
                yield _prepared(file, page, page.pixels, decode_ms, options)
            started = time.perf_counter()


def _prepared(
    file: Path, page: Page, pixels: NDArray[np.generic], decode_ms: float, options: Options
) -> _Read:
    try:
        prepared = prepare(pixels, window=options.window, fill=options.fill)
    except InputError as error:
        return _Read(file, page.number, page.pages, error=error)
    return _Read(file, page.number, page.pages, pixels, prepared, None, decode_ms)


def _rejected(read: _Read) -> SliceResult:
    source = source_name(read.file)
    reason = str(read.error).removeprefix(f"{source}: ")
    return SliceResult(source=source, index=read.index, status="rejected", reason=reason)


def _record(
    read: _Read,
    result: Result,
    pipeline: Pipeline,
    options: Options,
    pictures: tuple[str, str] | None,
) -> SliceResult:
    region = result.region
    area = None if region is None else region.area
    spacing = options.spacing
    return SliceResult(
        source=source_name(read.file),
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
        mask=None if pictures is None else pictures[0],
        overlay=None if pictures is None else pictures[1],
        backend=pipeline.backend.name,
        precision=pipeline.backend.precision,
        timings_ms={"decode": read.decode_ms, **result.timings_ms},
    )


def _write_pictures(
    output: OutputFolder,
    names: tuple[str, str],
    read: _Read,
    result: Result,
    options: Options,
) -> None:
    if result.region is None or read.pixels is None:
        return
    mask, overlay = names
    pixels = fill_missing(read.pixels) if result.filled else read.pixels
    shown = pixels if options.window is None else apply_window(pixels, options.window)
    output.write(mask, mask_png(result.region.mask))
    output.write(overlay, overlay_png(shown.astype("uint8", copy=False), result.region.mask))


class _PictureNames:
    """Names for pictures: the slice's own path below what all files share, each given once."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._root = os.path.commonpath([_absolute(file.parent) for file in files])
        self._taken: set[str] = set()

    def of(self, file: Path, index: int) -> tuple[str, str]:
        """Return the names of a slice's mask and overlay in the output folder."""
        inside = _absolute(file).relative_to(self._root).with_suffix("")
        stem = source_name(inside.name)
        if len(stem.encode()) > _LONGEST_STEM:
            stem = stem[:_SHORT_STEM]
        folder = source_name(inside.parent)
        wanted = (f"{folder}/" if folder != "." else "") + stem
        wanted += f"_p{index:03d}" if index else ""
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return f"{MASKS}/{name}_mask.png", f"{OVERLAYS}/{name}_overlay.png"


def _absolute(path: Path) -> Path:
    """Make a path absolute without following links: pictures are named after what was given."""
    return Path(os.path.abspath(path))  # noqa: PTH100
