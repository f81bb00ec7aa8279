"""``scanside run``: slices in, results and pictures out."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from scanside.bundle import Bundle, open_bundle
from scanside.cli.options import backend_options, bundle_option, pin_option, slice_options
from scanside.cli.progress import progress
from scanside.errors import EXIT_INTERRUPTED, IndeterminateError, InputError, worst_exit_code
from scanside.pipeline import Pipeline
from scanside.readers.discover import Discovery, discover
from scanside.readers.image import source_name
from scanside.records import Record, RunResult, SliceResult
from scanside.runner import Analysed, Options, analyse_files
from scanside.tally import Spacing, Tally
from scanside.writers.files import OutputFolder, output_errors
from scanside.writers.page import write_page
from scanside.writers.records import FORMATS, record_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from scanside.contract import Precision
    from scanside.preprocess import Window

__all__ = ["Job", "execute", "run"]


class Job(NamedTuple):
    """Everything that a run is asked to do.

    Attributes
    ----------
    inputs
        Files and folders, as given.
    output
        The output folder; none for records on stdout alone.
    form
        One of `FORMATS`.
    options, spacing
        How slices are read and measured.
    page, note
        Whether the output folder gets an HTML page, and a sentence for its head.
    """

    inputs: Sequence[Path]
    output: OutputFolder | None
    form: str
    options: Options
    spacing: Spacing | None = None
    page: bool = False
    note: str = ""


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
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
@click.option("--page", is_flag=True, help="Write OUTPUT/index.html with the pictures.")
@click.option("--note", default="", metavar="TEXT", help="A sentence for the page's head.")
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
    page: bool,
    note: str,
    overwrite: bool,
    strict: bool,
) -> int:
    """Analyse slices: every slice is classified, only positive slices are segmented.

    INPUTS are images (PNG, TIFF, JPEG, WebP; 8 or 16 bit) or folders of them. An image holds
    the three sequences as its channels: pre-contrast, FLAIR, post-contrast. A slice that is not
    accepted is rejected with its reason, and the rest goes on. In a folder, masks beside
    their slices (SLICE_mask.png) are left out: name the folder rather than FOLDER/*.png.
    """
    if page and output is None:
        raise click.UsageError("--page needs --output")
    if note and not page:
        raise click.UsageError("--note is for the page: give --page too")
    opened = open_bundle(bundle, manifest_sha256=bundle_sha256)
    job = Job(
        inputs=inputs,
        output=None if output is None else OutputFolder(output, overwrite=overwrite),
        form=form or ("text" if sys.stdout.isatty() else "jsonl"),
        options=Options(window, fill_missing, None if spacing is None else spacing[:2]),
        spacing=spacing,
        page=page,
        note=note,
    )
    with Pipeline.open(opened, backend=backend, precision=precision) as pipeline:
        if pipeline.fallback is not None:
            click.echo(f"scanside: using {pipeline.backend.name}: {pipeline.fallback}", err=True)
        return execute(job, opened, pipeline, strict=strict)


def execute(job: Job, bundle: Bundle, pipeline: Pipeline, *, strict: bool = False) -> int:
    """Do a job and return its exit code.

    Parameters
    ----------
    job
        What to do.
    bundle
        The bundle that the pipeline was made from.
    pipeline
        The loaded pipeline.
    strict
        Whether an indeterminate slice is an error.

    Returns
    -------
    int
        0, 3 if an input was rejected, 7 with `strict` if a slice is indeterminate, 130 if the
        run was interrupted; what was done until then is kept.
    """
    found = discover(job.inputs)
    tally = Tally(job.spacing)
    started = time.perf_counter()
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_interrupt())
        sinks = _Sinks(job, found.files, stack)
        update = stack.enter_context(progress(len(found.files), "files"))
        for analysed in _analysed(found, job, pipeline, stop):
            tally.add(analysed)
            sinks.write(analysed.record)
            update(tally.files)
        seconds = time.perf_counter() - started
        for study in tally.studies():
            sinks.write(study)
        summary = tally.run(
            bundle=bundle,
            pipeline=pipeline,
            seconds=seconds,
            interrupted=stop.is_set(),
            left_out=found.left_out,
        )
        sinks.write(summary)
    if job.page and job.output is not None:
        write_page(job.output, bundle, job.note)
    _say_where(job, summary)
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return worst_exit_code(
        InputError.exit_code if tally.rejected else 0,
        IndeterminateError.exit_code if strict and tally.indeterminate else 0,
    )


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Let the first Ctrl-C end the run after the slice at hand; a second one ends it at once."""
    stop = threading.Event()

    def handle(_: int, __: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _analysed(
    found: Discovery, job: Job, pipeline: Pipeline, stop: threading.Event
) -> Iterator[Analysed]:
    for place, reason in found.unreadable:
        record = SliceResult(source=source_name(place), index=0, status="rejected", reason=reason)
        yield Analysed(place, record, None)
    if found.files:
        yield from analyse_files(
            found.files,
            pipeline,
            job.options,
            root=_common_root(found.files),
            output=job.output,
            stop=stop.is_set,
        )


def _common_root(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _say_where(job: Job, summary: RunResult) -> None:
    if job.output is None:
        return
    where = [f"records in {job.output.results}"]
    if summary.positive:
        where.append(f"pictures in {job.output.path}")
    if job.page:
        where.append(f"page: {job.output.page}")
    click.echo(f"scanside: {'; '.join(where)}", err=True)


class _Sinks:
    """Where records go: stdout in the wanted format, and the output folder as JSON lines."""

    def __init__(self, job: Job, files: Sequence[Path], stack: ExitStack) -> None:
        stdout = record_writer(
            job.form,
            sys.stdout.buffer,
            name="standard output",
            slices=len(files),
            root=str(_common_root(files)) if files else "",
        )
        self._writers = [stdout]
        if job.output is not None:
            with output_errors(job.output.results):
                file = stack.enter_context(job.output.results.open("xb"))
            self._writers.append(record_writer("jsonl", file, name=str(job.output.results)))

    def write(self, record: Record) -> None:
        for writer in self._writers:
            writer.write(record)
