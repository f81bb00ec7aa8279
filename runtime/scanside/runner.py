"""The streaming path over image files: files in, records and pictures out, in order."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError
from scanside.lanes import Pictures, Read, analyse
from scanside.pipeline import prepare
from scanside.readers.image import read_pages, source_name
from scanside.records import MASKS, OVERLAYS
from scanside.study.grid import pixel_aspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.lanes import Analysed
    from scanside.pipeline import Pipeline, Prepared
    from scanside.preprocess import Window
    from scanside.readers.image import Page
    from scanside.study.grid import Spacing
    from scanside.writers.files import OutputFolder

__all__ = ["Options", "analyse_files", "picture_names"]

_LONGEST_PART, _SHORT_PART = 200, 50
"""Bytes of a folder's or file's name that pictures are named after as it is, and characters kept of
a longer one: file systems allow 255 bytes, and a byte that is no text is written as four."""

_LONGEST_PATH: Final = 2000
"""Bytes of the folders and the file that pictures are named after; beyond them, after the file
alone: Linux allows 4,095 bytes, those of the output folder included."""


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

    def prepare(self, pixels: NDArray[np.generic]) -> Prepared:
        """Prepare a slice by `scanside.pipeline.prepare`; pixels that are not square become so."""
        return prepare(
            pixels, window=self.window, fill=self.fill, aspect=pixel_aspect(self.spacing)
        )


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
        rest goes on. The slices of one folder, or of one multi-page file, are a study.

    Raises
    ------
    BackendError, OutputError
        As for `scanside.lanes.analyse`.
    """
    names = None if output is None else _PictureNames(files)
    yield from analyse(_read_all(files, options, names), pipeline, output=output, stop=stop)


def _read_all(
    files: Sequence[Path], options: Options, names: _PictureNames | None
) -> Iterator[Read]:
    for file in files:
        started = time.perf_counter()
        for page in read_pages(file):
            decode_ms = round((time.perf_counter() - started) * 1e3, 3)
            # A name is given to every slice, so that none depends on what another one shows.
            pictures = None if names is None else names.of(file, page.number)
            yield _read(file, page, decode_ms, options, pictures)
            started = time.perf_counter()


def _read(
    file: Path, page: Page, decode_ms: float, options: Options, pictures: Pictures | None
) -> Read:
    prepared, error = None, page.error
    if page.pixels is not None:
        try:
            prepared = options.prepare(page.pixels)
        except InputError as refused:
            error = refused
    return Read(
        source=source_name(file),
        index=page.number,
        study=source_name(file if page.pages > 1 else file.parent),
        pixels=page.pixels,
        window=options.window,
        prepared=prepared,
        error=error,
        decode_ms=decode_ms,
        spacing=options.spacing,
        pictures=pictures,
    )


def picture_names(name: str) -> Pictures:
    """Return the names of a slice's mask and overlay in the output folder.

    Parameters
    ----------
    name
        The slice's name, with the folders it lies in.
    """
    return Pictures(f"{MASKS}/{name}_mask.png", f"{OVERLAYS}/{name}_overlay.png")


class _PictureNames:
    """Names for pictures: the slice's own path below what all files share, each given once."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._root = os.path.commonpath([_absolute(file.parent) for file in files])
        self._taken: set[str] = set()

    def of(self, file: Path, index: int) -> Pictures:
        """Return the names of a slice's pictures."""
        inside = _absolute(file).relative_to(self._root).with_suffix("")
        parts = [_short(source_name(part)) for part in inside.parts]
        wanted = "/".join(parts)
        if len(wanted.encode()) > _LONGEST_PATH:
            wanted = parts[-1]
        wanted += f"_p{index:03d}" if index else ""
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        return picture_names(name)


def _short(part: str) -> str:
    return part if len(part.encode()) <= _LONGEST_PART else part[:_SHORT_PART]


def _absolute(path: Path) -> Path:
    """Make a path absolute without following links: pictures are named after what was given."""
    return Path(os.path.abspath(path))  # noqa: PTH100
