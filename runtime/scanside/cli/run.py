"""``scanside run``: slices in, results and pictures out."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from scanside.bundle import Bundle, open_bundle
from scanside.cli.given import given_options
from scanside.cli.interrupt import Stop, stop_on_interrupt
from scanside.cli.loading import uncollected
from scanside.cli.options import backend_options, bundle_option, pin_option, slice_options
from scanside.cli.progress import progress
from scanside.cli.results import ResultOptions, StudyWriter, expected_forms, result_options
from scanside.cli.say import say, show
from scanside.cli.sinks import Sinks
from scanside.cli.studies import (
    ReadStudies,
    analyse_studies,
    choose_studies,
    file_stem,
    read_studies,
)
from scanside.cli.studies import explain as explain_studies
from scanside.cli.studyoptions import StudyOptions, named_series, study_options
from scanside.cli.use import check_together, check_use
from scanside.cli.work import Work, discover_inputs, subjects
from scanside.errors import EXIT_INTERRUPTED, IndeterminateError, InputError, worst_exit_code
from scanside.lanes import Analysed
from scanside.pipeline import Pipeline
from scanside.plain import is_text, plain
from scanside.readers.image import source_name
from scanside.records import RunResult, SliceResult
from scanside.runner import Options, analyse_files
from scanside.tally import Conclusion, Tally
from scanside.writers.files import OutputFolder
from scanside.writers.page import write_page
from scanside.writers.records import FORMATS
from scanside.writers.studyfiles import preload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from scanside.contract import Precision
    from scanside.preprocess import Window
    from scanside.readers.discover import Discovery
    from scanside.study.grid import Spacing
    from scanside.study.model import Findings
    from scanside.study.volume import WindowRule
    from scanside.writers.studyfiles import Form, Written

__all__ = ["run"]


class _Job(NamedTuple):
    """Everything that a run is asked to do.

    Attributes
    ----------
    output
        The output folder; none for records on stdout alone.
    form
        One of `FORMATS`.
    options
        How slices are read and measured.
    page, note
        Whether the output folder gets an HTML page, and a sentence for its head.
    """

    output: OutputFolder | None
    form: str
    options: Options
    page: bool
    note: str


def _text(_: click.Context, __: click.Parameter, value: str) -> str:
    if not is_text(value):
        raise click.BadParameter(f"{plain(value)}; accepted: UTF-8 text")
    return value


@click.command()
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Folder for records and pictures.")
@bundle_option
@pin_option
@backend_options
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Records on stdout.  [default: text on a terminal, jsonl otherwise]",
)
@slice_options
@study_options
@result_options
@click.option("--page", is_flag=True, help="Write OUTPUT/index.html with the pictures.")
@click.option(
    "--note", default="", callback=_text, metavar="TEXT", help="A sentence for the page's head."
)
@click.option("--overwrite", is_flag=True, help="Replace the results that --output holds.")
@click.option("--strict", is_flag=True, help="Exit with 7 if a slice is indeterminate.")
def run(  # noqa: PLR0913 - one parameter an option
    *,
    inputs: tuple[Path, ...],
    output: Path | None,
    bundle: Path | None,
    bundle_sha256: str | None,
    backend: str,
    precision: Precision | None,
    form: str | None,
    window: Window | None,
    fill_missing: bool,
    spacing: Spacing | None,
    pre: Path | None,
    flair: Path | None,
    post: Path | None,
    rules: Path | None,
    series_window: WindowRule,
    explain: bool,
    forms: tuple[Form, ...] | None,
    uid_root: str | None,
    created: datetime | None,
    page: bool,
    note: str,
    overwrite: bool,
    strict: bool,
) -> int:
    """Analyse slices: every slice is classified, only positive slices are segmented.

    INPUTS are images (PNG, TIFF, JPEG, WebP; 8 or 16 bit, float TIFF), DICOM or NIfTI files, zip
    archives of those, or folders of them. An image holds the three sequences as its channels:
    pre-contrast, FLAIR, post-contrast. Of DICOM and NIfTI studies the three series are chosen by
    rules (--explain, --rules) or named (--pre, --flair, --post). What is not accepted is
    rejected with its reason, and the rest goes on. In a folder, masks beside their slices
    (SLICE_mask.png) are left out: name the folder, not FOLDER/*.png. INPUTS may be - alone: one
    image on standard input.
    """
    given = given_options(click.get_current_context())
    check_together(given)
    named = named_series({"pre": pre, "flair": flair, "post": post})
    if not inputs and not named:
        raise click.UsageError("Missing argument 'INPUTS...'.")
    studies = StudyOptions(rules, fill_missing, series_window, named)
    results = ResultOptions(forms, uid_root, created)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_interrupt())
        found = discover_inputs(inputs)
        check_use(given, subjects(found, studies, results))
        if explain:
            return _explain(Work(found, ReadStudies(choose_studies(found.studies, studies))))
        reader = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="scanside-studies"))
        # Studies are read beside bundle and models, whose loading leaves the interpreter free.
        with uncollected():
            if output is not None:
                reader.submit(preload, expected_forms(results, found.studies))
            reading = reader.submit(read_studies, found.studies, studies)
            opened = open_bundle(bundle, manifest_sha256=bundle_sha256)
            folder = None
            if output is not None:
                folder = stack.enter_context(closing(OutputFolder(output, overwrite=overwrite)))
                folder.check_apart((*found.paths, *named.values()))
            several = len(found.files) > 1 or bool(found.studies or named)
            pipeline = stack.enter_context(
                Pipeline.open(
                    opened,
                    backend=backend,
                    precision=precision,
                    streaming=several,
                    once=not several,
                )
            )
            work = Work(found, reading.result())
            work.check()
            check_use(given, subjects(found, studies, results, work.chosen))
        job = _Job(
            output=folder,
            form=form or ("text" if sys.stdout.isatty() else "jsonl"),
            options=Options(window, fill_missing, spacing),
            page=page,
            note=note,
        )
        writer = StudyWriter(results, folder, work.chosen.kinds, studies.settings)
        if pipeline.fallback is not None:
            say(f"using {pipeline.backend.name}: {pipeline.fallback}")
        if pipeline.reason is not None:
            say(pipeline.reason)
        return _execute(job, work, opened, pipeline, writer, stop, strict=strict)


def _explain(work: Work) -> int:
    """Say what becomes of each series, and return the exit code that refused ones give a run."""
    work.check()
    lines = [*explain_studies(work.chosen)]
    lines += [f"{source_name(place)}: {reason}" for place, reason in work.found.unreadable]
    if work.found.files:
        lines.append(f"{len(work.found.files):,} images are analysed as they are")
    lines += [f"left out: {number:,} {reason}" for reason, number in work.left_out.items()]
    show(lines)
    refused = work.found.unreadable or work.chosen.refused
    return InputError.exit_code if refused else 0


def _execute(
    job: _Job,
    work: Work,
    bundle: Bundle,
    pipeline: Pipeline,
    writer: StudyWriter,
    stop: Stop,
    *,
    strict: bool,
) -> int:
    """Do a job and return its exit code; what was done until an interruption is kept."""
    if job.output is not None:
        job.output.clear()
    tally = Tally()
    started = time.perf_counter()
    with ExitStack() as stack:
        sinks = Sinks(job.form, job.output, slices=work.slices, files=work.found.files, stack=stack)
        with progress(0 if sinks.on_screen else work.steps, "files") as update:

            def seen(number: int, analysed: Analysed) -> None:
                tally.add(number, analysed)
                sinks.write(analysed.record)
                update(tally.files)

            for analysed in _analysed_files(work.found, job, pipeline, stop):
                seen(0, analysed)
            for number, findings in analyse_studies(
                work.studies,
                pipeline,
                output=job.output,
                stop=stop,
                seen=seen,
            ):
                written = writer.write(findings, file_stem(number), bundle, pipeline)
                tally.conclude(number, findings.study.name, _conclusion(findings, written))
        seconds = time.perf_counter() - started
        for study in tally.studies():
            sinks.write(study)
        summary = tally.run(
            bundle=bundle,
            pipeline=pipeline,
            seconds=seconds,
            interrupted=stop.left_work,
            left_out=work.left_out,
        )
        sinks.write(summary)
    if job.page and job.output is not None:
        write_page(job.output, bundle, job.note)
    _say_where(job, summary)
    if stop.left_work:
        return EXIT_INTERRUPTED
    return worst_exit_code(
        InputError.exit_code if tally.rejected else 0,
        IndeterminateError.exit_code if strict and tally.indeterminate else 0,
    )


def _conclusion(findings: Findings, written: Written) -> Conclusion:
    """Return what a study's record says beyond its slices; what is not as it should be is said."""
    study = findings.study
    notes = tuple(f"{note.sequence}: {note.text}" for note in study.notes)
    for note in notes:
        say(f"{study.name}: {note}")
    if written.dropped:
        names = ", ".join(written.dropped)
        say(f"{study.name}: not valid, and left out: {names}")
    return Conclusion(
        centroid_mm=findings.measures.centroid_mm,
        filled=study.filled,
        notes=notes,
        written=written.names,
        dropped=written.dropped,
    )


def _analysed_files(
    found: Discovery, job: _Job, pipeline: Pipeline, stop: Stop
) -> Iterator[Analysed]:
    for place, reason in found.unreadable:
        record = SliceResult(source=source_name(place), index=0, status="rejected", reason=reason)
        yield Analysed(source_name(place.parent), record, None)
    if found.files:
        yield from analyse_files(
            found.files,
            pipeline,
            job.options,
            output=job.output,
            stop=stop,
        )


def _say_where(job: _Job, summary: RunResult) -> None:
    if job.output is None:
        return
    where = [f"records in {job.output.results}"]
    if summary.positive:
        where.append(f"pictures in {job.output.path}")
    if job.page:
        where.append(f"page: {job.output.page}")
    say("; ".join(where))
