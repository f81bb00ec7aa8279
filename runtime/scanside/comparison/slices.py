"""What both sides are given: plain slices or a labelled dataset, read and prepared once."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import InputError
from scanside.evaluation.dataset import index_dataset, load_mask
from scanside.evaluation.layout import find_slices
from scanside.preprocess import apply_window, fill_missing
from scanside.readers.discover import discover
from scanside.readers.image import read_pages, source_name
from scanside.streams import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.evaluation.dataset import DatasetSlice
    from scanside.pipeline import Prepared
    from scanside.readers.image import Page
    from scanside.runner import Options

__all__ = ["Input", "ReadSlice", "find_input", "read_slices"]

_READ_AHEAD: Final = 8
"""Slices, as in a run: at most 8 decoded slices in memory."""


class Input(NamedTuple):
    """The slices to compare on, not yet read.

    Attributes
    ----------
    folder
        As it was given.
    files
        The files in their order, each with its label in a labelled dataset.
    dataset_sha256
        Hash of the labelled dataset; none for plain slices.
    left_out
        Files of the folder that are no input, by reason.
    unreadable
        What could not be looked at, with the reason: reported as rejected.
    """

    folder: Path
    files: tuple[tuple[Path, DatasetSlice | None], ...]
    dataset_sha256: str | None = None
    left_out: dict[str, int] = {}  # noqa: RUF012 - of a named tuple: never changed
    unreadable: tuple[tuple[Path, str], ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the truth is known."""
        return self.dataset_sha256 is not None


class ReadSlice(NamedTuple):
    """A slice that was read and prepared, or why it was not.

    Attributes
    ----------
    file
        The file.
    source, index
        Its name, and the slice's number inside it.
    error
        Why it is not accepted; none for the others.
    pixels
        The slice as it was read, grey ones filled.
    prepared
        What both sides' models are given.
    label, truth
        The labelled slice, and its mask, uint8 ``[H, W]``; none for plain slices.
    """

    file: Path
    source: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    error: InputError | None = None
    pixels: NDArray[np.generic] | None = None
    prepared: Prepared | None = None
    label: DatasetSlice | None = None
    truth: NDArray[np.uint8] | None = None

    @property
    def patient(self) -> str | None:
        """The patient, where the truth is known."""
        return None if self.label is None else self.label.patient

    @property
    def true_px(self) -> int | None:
        """Pixels of tumour, where the truth is known."""
        return None if self.label is None else self.label.tumor_px

    def shown(self, options: Options) -> NDArray[np.uint8]:
        """Return the slice in 8 bits, ``[H, W, 3]``, by its window."""
        if self.pixels is None:
            raise InputError(f"{self.source} was rejected: there is nothing to show")
        window = options.window
        pixels = self.pixels if window is None else apply_window(self.pixels, window)
        return pixels.astype(np.uint8, copy=False)


def find_input(
    folder: Path,
    *,
    labelled: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Input:
    """Find the slices of a folder, and their labels where it is a labelled dataset.

    Parameters
    ----------
    folder
        Slices that `scanside run` accepts, or a dataset in the layout of the LGG dataset.
    labelled
        Whether to take it for a labelled dataset. Where left out it is one if it has a folder
        per patient, and at least one slice in it has a mask.
    progress
        Called with the number of labelled slices checked and the number there are.

    Raises
    ------
    InputError
        If there is no slice, or a labelled dataset is not in order.
    """
    if labelled is None:
        labelled = _has_masks(folder)
    if not labelled:
        found = discover([folder])
        files = tuple((file, None) for file in found.files)
        return Input(folder, files, None, found.left_out, found.unreadable)
    try:
        dataset = index_dataset(folder, progress=progress)
    except InputError as error:
        raise InputError(
            error.given,
            accepted=error.accepted,
            remedy=f"{error.remedy}; or --unlabelled: compare without the truth".lstrip("; "),
        ) from None
    return Input(folder, tuple((item.image, item) for item in dataset.slices), dataset.sha256)


def read_slices(source: Input, options: Options) -> Iterator[ReadSlice]:
    """Read and prepare slices in their order, the next ones in a thread.

    Parameters
    ----------
    source
        From `find_input`.
    options
        How slices are read.

    Yields
    ------
    ReadSlice
        One for each slice; one that is not accepted carries its error, and the rest goes on.
    """
    for place, reason in source.unreadable:
        yield ReadSlice(place, source_name(place), 0, InputError(reason))
    with closing(prefetch(_read_all(source, options), _READ_AHEAD)) as ahead:
        yield from ahead


def _has_masks(folder: Path) -> bool:
    try:
        return any(found.mask is not None for found in find_slices(folder)[1])
    except InputError:  # no folder a patient: plain slices, or nothing, which reading will tell
        return False


def _read_all(source: Input, options: Options) -> Generator[ReadSlice, None, None]:
    for file, label in source.files:
        for page in read_pages(file):
            yield _read(file, label, page, options)


def _read(file: Path, label: DatasetSlice | None, page: Page, options: Options) -> ReadSlice:
    read = ReadSlice(file, source_name(file), page.number, label=label)
    if page.pixels is None:
        return read._replace(error=page.error)
    pixels = page.pixels
    try:
        prepared = options.prepare(pixels)
        truth = None if label is None else load_mask(label)
    except InputError as error:
        return read._replace(error=error)
    if pixels.ndim == 2:  # noqa: PLR2004 - grey, which was accepted: FLAIR stands in
        pixels = fill_missing(pixels)
    return read._replace(pixels=pixels, prepared=prepared, truth=truth)
