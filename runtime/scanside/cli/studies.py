"""What ``scanside run`` does with DICOM and NIfTI files: choose, explain, assemble, analyse."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from scanside.errors import InputError, UsageError
from scanside.lanes import Analysed
from scanside.readers.discover import discover
from scanside.readers.image import source_name
from scanside.records import SliceResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from scanside.assembly.candidates import Candidate
    from scanside.assembly.choose import Chosen, Placed
    from scanside.cli.studyoptions import StudyOptions
    from scanside.pipeline import Pipeline
    from scanside.readers.blobs import StudyFile
    from scanside.study.model import Findings, SourceKind, Study
    from scanside.writers.files import OutputFolder

__all__ = [
    "Assembled",
    "ChosenStudies",
    "ReadStudies",
    "analyse_studies",
    "assemble_studies",
    "choose_studies",
    "explain",
    "file_stem",
    "read_studies",
]


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
    def kinds_found(self) -> set[SourceKind]:
        """What the files of all studies are, accepted or not."""
        return {each.candidate.kind for study in self.studies for each in study.verdicts}

    @property
    def refused(self) -> bool:
        """Whether there is a study or file that is not accepted, as far as headers tell."""
        return bool(self.unreadable) or any(study.error is not None for study in self.studies)

    @property
    def _flairs(self) -> list[Placed]:
        return [study.series["FLAIR"] for study in self.studies if study.error is None]


class Assembled(NamedTuple):
    """A study that was decoded.

    Attributes
    ----------
    source
        What records call it.
    study
        The study, or why it is refused.
    read_ms
        Milliseconds that it took.
    """

    source: str
    study: Study | InputError
    read_ms: float


class ReadStudies(NamedTuple):
    """The studies of a run, the first of them decoded.

    Attributes
    ----------
    chosen
        All of them.
    assembled
        Each once, in their order; those after the first are decoded when they are asked for.
    """

    chosen: ChosenStudies
    assembled: Iterator[Assembled] = iter(())


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
        _check_different(named)
        study = StudyFiles(source_name(options.named["FLAIR"]), list(named.values()))
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
            described = verdict.candidate.attributes[0].description
            yield f"  {verdict.candidate.label:<14} {taken:<13} {verdict.why}  [{described}]"
        yield f"  refused: {study.error}" if study.error else "  accepted"
    for source, reason in chosen.unreadable:
        yield f"{source}: {reason}"


def assemble_studies(chosen: ChosenStudies, options: StudyOptions) -> Iterator[Assembled]:
    """Decode studies and bring each to one grid, one after the other.

    Parameters
    ----------
    chosen
        The studies.
    options
        How studies are read.
    """
    if not chosen.studies:
        return
    from scanside.assembly.assemble import assemble

    for study in chosen.studies:
        started = time.perf_counter()
        made: Study | InputError
        try:
            made = assemble(study, window=options.window)
        except InputError as error:
            made = error
        yield Assembled(study.name, made, (time.perf_counter() - started) * 1e3)


def read_studies(files: Iterable[StudyFile], options: StudyOptions) -> ReadStudies:
    """Choose the series of every study, and assemble the first: what can be done before models.

    Parameters
    ----------
    files, options
        As for `choose_studies`, with its errors.
    """
    chosen = choose_studies(files, options)
    assembled = assemble_studies(chosen, options)
    return ReadStudies(chosen, chain(tuple(islice(assembled, 1)), assembled))


def analyse_studies(
    read: ReadStudies,
    pipeline: Pipeline,
    *,
    output: OutputFolder | None,
    stop: Callable[[], bool],
    seen: Callable[[int, Analysed], None],
) -> Iterator[tuple[int, Findings]]:
    """Analyse studies, one after the other.

    Parameters
    ----------
    read
        The studies.
    pipeline
        The loaded pipeline.
    output
        Where pictures are written.
    stop
        Asked before each slice.
    seen
        Called with the study's number from 1 (0 for a file that belongs to none), and each slice or
        the record that says why study or file is refused.

    Yields
    ------
    int, Findings
        For each study that was analysed: its number, and its findings.
    """
    for source, reason in read.chosen.unreadable:
        seen(0, _rejected(source, reason))
    if not read.chosen.studies:
        return
    from scanside.studyrun import analyse_study

    for number, (source, study, read_ms) in enumerate(read.assembled, 1):
        if stop():
            return
        if isinstance(study, InputError):
            seen(number, _rejected(source, str(study)))
            continue
        findings = analyse_study(
            study,
            pipeline,
            read_ms=read_ms,
            pictures=file_stem(number),
            output=output,
            stop=stop,
            seen=partial(seen, number),
        )
        yield number, findings


def file_stem(number: int) -> str:
    """Return what names of a study's files begin with."""
    return f"study_{number}"


def _rejected(source: str, reason: str) -> Analysed:
    record = SliceResult(source=source, index=0, status="rejected", reason=reason)
    return Analysed(source, record, None)


def _check_different(named: Mapping[str, Candidate]) -> None:
    """Refuse a series that is named twice: FLAIR in the place of another one must be said."""
    seen: dict[tuple[str, ...], str] = {}
    for name, candidate in named.items():
        other = seen.setdefault(candidate.sources, name)
        if other != name:
            raise UsageError(
                f"{candidate.sources[0]}: the same series was named as {other} and as {name}",
                accepted="a series for each sequence",
                remedy="leave out the sequence that is missing, and give --fill-missing",
            )


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
            f"{source_name(path)} holds {len(series)} DICOM or NIfTI series",
            accepted="a file or folder with one series",
            remedy="name the folder of that series alone",
        )
    return series[0]
