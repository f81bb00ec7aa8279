"""What ``scanside run`` does with DICOM and NIfTI files: choose, explain, assemble, analyse."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from scanside.errors import InputError, UsageError
from scanside.lanes import Analysed
from scanside.preprocess import CHANNELS
from scanside.readers.discover import discover
from scanside.records import SliceResult
from scanside.study.volume import WINDOW_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from scanside.assembly.candidates import Candidate
    from scanside.assembly.choose import Chosen, Placed
    from scanside.pipeline import Pipeline
    from scanside.readers.blobs import StudyFile
    from scanside.study.model import Findings, SourceKind
    from scanside.study.volume import WindowRule
    from scanside.writers.files import OutputFolder

__all__ = [
    "ChosenStudies",
    "StudyOptions",
    "analyse_studies",
    "choose_studies",
    "explain",
    "named_series",
    "study_options",
]

F = TypeVar("F", bound="Callable[..., Any]")

_SEQUENCES: Final = dict(zip(("pre", "flair", "post"), CHANNELS, strict=True))
"""Options and the sequences that they name."""


class StudyOptions(NamedTuple):
    """How studies are read.

    Attributes
    ----------
    rules
        The site's rules; none for those that ship.
    fill
        Let FLAIR stand in for a missing sequence.
    window
        How each series' window is chosen.
    named
        Files and folders by sequence, from ``--pre``, ``--flair`` and ``--post``.
    """

    rules: Path | None = None
    fill: bool = False
    window: WindowRule = "auto"
    named: Mapping[str, Path] = {}

    @property
    def settings(self) -> tuple[str, ...]:
        """What changes results, beside the files that were chosen, each as ``name=value``."""
        return (f"series-window={self.window}", *(["fill-missing=yes"] if self.fill else []))


class ChosenStudies(NamedTuple):
    """The studies of a run, chosen by their headers.

    Attributes
    ----------
    studies
        Each with its series, or why it is refused.
    left_out, unreadable
        As in `scanside.assembly.collect.Collection`.
    """

    studies: tuple[Chosen, ...]
    left_out: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def slices(self) -> int:
        """How many slices will be analysed, as far as headers tell."""
        return sum(flair.grid.shape[0] for flair in self._flairs)

    @property
    def kinds(self) -> set[SourceKind]:
        """What the files of the accepted studies are."""
        return {flair.candidate.kind for flair in self._flairs}

    @property
    def _flairs(self) -> list[Placed]:
        return [study.series["FLAIR"] for study in self.studies if study.error is None]


def study_options(command: F) -> F:
    """Add ``--pre``, ``--flair``, ``--post``, ``--rules``, ``--series-window``, ``--explain``."""
    place = click.Path(path_type=Path)
    for option in (
        click.option(
            "--explain", is_flag=True, help="Say what becomes of each series, and analyse nothing."
        ),
        click.option(
            "--series-window",
            type=click.Choice(WINDOW_RULES),
            default="auto",
            show_default=True,
            help="Window of a DICOM or NIfTI series: the file's own, one made of all its values,"
            " or the file's where it covers them.",
        ),
        click.option("--rules", type=place, help="TOML file that says which series is which."),
        click.option("--post", type=place, help="The post-contrast series, whatever its name."),
        click.option("--flair", type=place, help="The FLAIR series, whatever its name."),
        click.option(
            "--pre",
            type=place,
            help="The pre-contrast series: a file or folder of DICOM or NIfTI; with --flair.",
        ),
    ):
        command = option(command)
    return command


def choose_studies(files: Iterable[StudyFile], options: StudyOptions) -> ChosenStudies:
    """Read headers and choose the series of every study.

    Parameters
    ----------
    files
        What was found in the inputs.
    options
        How studies are read.

    Raises
    ------
    UsageError
        If the rules are not valid, or a named place does not hold one series.
    ExtraNotInstalledError
        If the library that reads the files is not installed.
    """
    if not options.named and not (files := tuple(files)):
        return ChosenStudies((), {}, ())
    from scanside.assembly.choose import choose
    from scanside.assembly.collect import StudyFiles, collect
    from scanside.assembly.rules import load_rules

    rules = load_rules(options.rules)
    studies: list[Chosen] = []
    if options.named:
        named = {name: _only_series(path) for name, path in options.named.items()}
        study = StudyFiles(str(options.named["FLAIR"]), list(named.values()))
        studies.append(choose(study, rules, fill=options.fill, named=named))
    found = collect(files)
    left_out = Counter(found.left_out)
    for study in found.studies:
        own = sum(candidate.own for candidate in study.candidates)
        left_out["series of results of scanside"] += own
        if own < len(study.candidates):
            studies.append(choose(study, rules, fill=options.fill))
    return ChosenStudies(tuple(studies), +left_out, found.unreadable)


def explain(chosen: ChosenStudies) -> Iterator[str]:
    """Say what becomes of every series.

    Yields
    ------
    str
        Lines for people.
    """
    for study in chosen.studies:
        yield f"{study.name}"
        for verdict in sorted(study.verdicts, key=lambda each: each.candidate.label):
            taken = verdict.sequence or "-"
            described = verdict.candidate.attributes.description
            yield f"  {verdict.candidate.label:<14} {taken:<13} {verdict.why}  [{described}]"
        yield f"  refused: {study.error}" if study.error else "  accepted"
    for source, reason in chosen.unreadable:
        yield f"{source}: {reason}"


def analyse_studies(
    chosen: ChosenStudies,
    pipeline: Pipeline,
    options: StudyOptions,
    *,
    output: OutputFolder | None,
    stop: Callable[[], bool],
    seen: Callable[[Analysed], None],
) -> Iterator[tuple[str, Findings]]:
    """Assemble and analyse studies, one after the other.

    Parameters
    ----------
    chosen
        The studies.
    pipeline
        The loaded pipeline.
    options
        How studies are read.
    output
        Where pictures are written.
    stop
        Asked before each slice.
    seen
        Called with each slice, and for each refused study or file with the record that says so.

    Yields
    ------
    str, Findings
        For each study that was analysed: what names of its files begin with, and its findings.
    """
    for source, reason in chosen.unreadable:
        seen(_rejected(source, reason))
    if not chosen.studies:
        return
    from scanside.assembly.assemble import assemble
    from scanside.studyrun import analyse_study

    for number, study in enumerate(chosen.studies, 1):
        if stop():
            return
        started = time.perf_counter()
        try:
            assembled = assemble(study, window=options.window)
        except InputError as error:
            seen(_rejected(study.name, str(error)))
            continue
        read_ms = (time.perf_counter() - started) * 1e3
        name = f"study_{number}"
        yield (
            name,
            analyse_study(
                assembled,
                pipeline,
                read_ms=read_ms,
                pictures=name,
                output=output,
                stop=stop,
                seen=seen,
            ),
        )


def _rejected(source: str, reason: str) -> Analysed:
    record = SliceResult(source=source, index=0, status="rejected", reason=reason)
    return Analysed(source, record, None)


def _only_series(path: Path) -> Candidate:
    """Return the one series that a place holds, results of scanside aside."""
    from scanside.assembly.collect import collect

    found = collect(discover([path], studies=True).studies)
    if found.unreadable:
        source, reason = found.unreadable[0]
        raise InputError(f"{source}: {reason}")
    series = [each for study in found.studies for each in study.candidates if not each.own]
    if len(series) != 1:
        raise UsageError(
            f"{path} holds {len(series)} DICOM or NIfTI series",
            accepted="a file or folder with one series",
            remedy="name the folder of that series alone",
        )
    return series[0]


def named_series(given: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return what ``--pre``, ``--flair`` and ``--post`` name, by sequence.

    Raises
    ------
    UsageError
        If FLAIR is not among them.
    """
    named = {_SEQUENCES[option]: path for option, path in given.items() if path is not None}
    if named and "FLAIR" not in named:
        raise UsageError(
            "--pre or --post was given without --flair",
            accepted="--flair, with --pre and --post (or --fill-missing)",
        )
    return named
