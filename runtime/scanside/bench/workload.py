"""The slices that are measured, and the order in which they come."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scanside.errors import InputError, UsageError
from scanside.golden import read_golden
from scanside.pipeline import Prepared, prepare
from scanside.readers.discover import discover
from scanside.readers.image import read_file, source_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.bundle import Bundle
    from scanside.pipeline import Pipeline, Result
    from scanside.runner import Options

__all__ = [
    "FirstPass",
    "Loaded",
    "Slice",
    "check_positive_rate",
    "first_pass",
    "golden_slices",
    "order",
    "slices_of",
]


class Slice(NamedTuple):
    """A slice that is ready to be measured.

    Attributes
    ----------
    pixels
        As decoded, ``[H, W, 3]`` or ``[H, W]``.
    prepared
        The same, ready for the models.
    file
        Where it comes from; none for a golden slice.
    """

    pixels: NDArray[np.generic]
    prepared: Prepared
    file: Path | None


class Loaded(NamedTuple):
    """Slices in memory.

    Attributes
    ----------
    source
        ``golden`` or the folder.
    slices
        At least one.
    found
        Slices or files there were to draw from.
    """

    source: str
    slices: tuple[Slice, ...]
    found: int

    @property
    def held_bytes(self) -> int:
        """Memory that the pixels take."""
        return sum(s.pixels.nbytes + s.prepared.image.nbytes for s in self.slices)

    @property
    def sha256(self) -> str:
        """Hash of the prepared slices in order."""
        digest = hashlib.sha256()
        for each in self.slices:
            digest.update(each.prepared.image.tobytes())
        return digest.hexdigest()


class FirstPass(NamedTuple):
    """What the pipeline found when it saw every slice once.

    Attributes
    ----------
    positive
        bool ``[N]``: which slices the gate sends to the segmenter.
    not_finite
        Slices whose probability is not finite.
    first_result_ms, first_positive_ms
        What the very first slice took, and the first one that was segmented.
    """

    positive: NDArray[np.bool_]
    not_finite: int
    first_result_ms: float
    first_positive_ms: float | None


def golden_slices(bundle: Bundle) -> Loaded:
    """Return a bundle's golden slices: phantoms of both classes.

    Raises
    ------
    BundleError
        If they are not of this contract.
    """
    images = read_golden(bundle).images
    return Loaded("golden", tuple(Slice(i, prepare(i), None) for i in images), len(images))


def slices_of(folder: Path, options: Options, *, limit: int, seed: int) -> Loaded:
    """Decode and prepare slices of a folder, drawn at random where there are more.

    Parameters
    ----------
    folder
        A folder of slices, or a file.
    options
        How slices are read.
    limit
        Slices at most: they are held in memory.
    seed
        Of the draw.

    Raises
    ------
    InputError
        If there is no slice, or one of those that were drawn is not accepted: a benchmark
        says what it measured, so nothing is left out.
    """
    search = discover([folder])
    for place, reason in search.unreadable:
        raise InputError(
            f"{source_name(place)}: {reason}", remedy="measure a folder whose slices are accepted"
        )
    drawn = np.random.default_rng(seed).permutation(len(search.files))[:limit]
    read = itertools.chain.from_iterable(
        _slices(search.files[n], options) for n in sorted(drawn.tolist())
    )
    return Loaded(source_name(folder), tuple(itertools.islice(read, limit)), len(search.files))


def _slices(file: Path, options: Options) -> Iterator[Slice]:
    for piece in read_file(file):
        try:
            prepared = options.prepare(piece.pixels)
        except InputError as error:
            raise InputError(
                f"{piece.source}: {error.given}", accepted=error.accepted, remedy=error.remedy
            ) from error
        yield Slice(piece.pixels, prepared, file)


def first_pass(pipeline: Pipeline, slices: Sequence[Slice]) -> FirstPass:
    """Analyse every slice once: which class it is of, and how long the first one takes.

    Parameters
    ----------
    pipeline
        Just loaded: nothing has run yet.
    slices
        At least one.
    """
    results = [pipeline.analyse_prepared([each.prepared])[0] for each in slices]
    segmented = [result for result in results if result.segmented]
    return FirstPass(
        positive=np.array([result.segmented for result in results]),
        not_finite=sum(result.tumor_probability is None for result in results),
        first_result_ms=_spent(results[0]),
        first_positive_ms=_spent(segmented[0]) if segmented else None,
    )


def _spent(result: Result) -> float:
    return round(sum(result.timings_ms.values()), 3)


def check_positive_rate(positive: NDArray[np.bool_], rate: float | None) -> None:
    """Refuse a rate for which a class has no slice.

    Raises
    ------
    UsageError
        If positive slices are wanted and none is there, or negative ones.
    """
    if rate is None:
        return
    for name, wanted, found in (
        ("positive", rate > 0, positive.any()),
        ("negative", rate < 1, not positive.all()),
    ):
        if wanted and not found:
            raise UsageError(
                f"--positive-rate {rate:g} needs {name} slices, and the gate of this bundle finds"
                f" none among the {len(positive)} slices",
                remedy="give --data with slices of both classes, or leave --positive-rate out",
            )


def order(positive: NDArray[np.bool_], rate: float | None, seed: int) -> Iterator[int]:
    """Return an endless order of slices: the same for the same arguments.

    With a rate, after any number n of slices ``floor(n * rate)`` of them are positive, evenly
    spread; within a class, and without a rate, every slice comes once before any comes again.

    Parameters
    ----------
    positive
        bool ``[N]``: the class of each slice.
    rate
        Share of positive slices; none for the slices as they are.
    seed
        Of the shuffles.

    Yields
    ------
    int
        Place of a slice, 0 to N - 1.
    """
    random = np.random.default_rng(seed)
    if rate is None:
        yield from _shuffled(np.arange(len(positive)), random)
        return
    classes = [_shuffled(np.flatnonzero(positive == wanted), random) for wanted in (False, True)]
    for n in itertools.count():
        yield next(classes[int((n + 1) * rate) > int(n * rate)])


def _shuffled(places: NDArray[np.int64], random: np.random.Generator) -> Iterator[int]:
    while True:
        yield from random.permutation(places).tolist()
