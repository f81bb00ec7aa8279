"""``scanside run``: slices in, results and pictures out."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from scanside.bundle import Bundle, open_bundle
from scanside.cli.options import backend_options, bundle_option, pin_option, slice_options
from scanside.cli.progress import progress
from scanside.errors import EXIT_INTERRUPTED, IndeterminateError, InputError, worst_exit_code
from scanside.lanes import Analysed
from scanside.pipeline import Pipeline
from scanside.readers.discover import Discovery, discover
from scanside.readers.image import source_name
from scanside.records import Record, RunResult, SliceResult
from scanside.runner import Options, analyse_files
from scanside.tally import Tally
from scanside.writers.files import OutputFolder
from scanside.writers.page import write_page
from scanside.writers.records import FORMATS, ROWS_SHOWN, record_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from scanside.contract import Precision
    from scanside.preprocess import Window
    from scanside.study.grid import Spacing

__all__ = ["run"]


class _Job(NamedTuple):
    """Everything that a run is asked to do.

    Attributes
    ----------
    inputs
        Files and folders, as given.
    output
        The output folder; none for records on stdout alone.
    form
        One of `FORMATS`.
    options
        How slices are read and measured.
    page, note
        Whether the output folder gets an HTML page, and a sentence for its head.
    """

    inputs: Sequence[Path]
    output: OutputFolder | None
    form: str
    options: Options
    page: bool
    note: str


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

    INPUTS are images (PNG, TIFF, JPEG, WebP; 8 or 16 bit, float TIFF) or folders of them. An
    image holds the three sequences as its channels: pre-contrast, FLAIR, post-contrast. A slice
    that is not accepted is rejected with its reason, and the rest goes on. In a folder, masks
    beside their slices (SLICE_mask.png) are left out: name the folder, not FOLDER/*.png.
    """
    if page and output is None:
        raise click.UsageError("--page needs --output")
    if note and not page:
        raise click.UsageError("--note is for the page: give --page too")
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_interrupt())
        opened = open_bundle(bundle, manifest_sha256=bundle_sha256)
        folder = None
        if output is not None:
            folder = stack.enter_context(closing(OutputFolder(output, overwrite=overwrite)))
        job = _Job(
            inputs=inputs,
            output=folder,
            form=form or ("text" if sys.stdout.isatty() else "jsonl"),
            options=Options(window, fill_missing, spacing),
            page=page,
            note=note,
        )
        found = discover(inputs)
        pipeline = stack.enter_context(
            Pipeline.open(
                opened, backend=backend, precision=precision, streaming=len(found.files) > 1
            )
        )
        if pipeline.fallback is not None:
            click.echo(f"scanside: using {pipeline.backend.name}: {pipeline.fallback}", err=True)
        if pipeline.reason is not None:
            click.echo(f"scanside: {pipeline.reason}", err=True)
        return _execute(job, found, opened, pipeline, stop, strict=strict)


def _execute(
    job: _Job,
    found: Discovery,
    bundle: Bundle,
    pipeline: Pipeline,
    stop: threading.Event,
    *,
    strict: bool,
) -> int:
    """Do a job and return its exit code; what was done until an interruption is kept."""
    if job.output is not None:
        job.output.clear()
    tally = Tally()
    started = time.perf_counter()
    interrupted = False
    with ExitStack() as stack:
        sinks = _Sinks(job, found.files, stack)
        with progress(0 if sinks.on_screen else len(found.files), "files") as update:
            for analysed in _analysed(found, job, pipeline, stop):
                tally.add(analysed)
                sinks.write(analysed.record)
                update(tally.files)
        interrupted = stop.is_set() and tally.files < len(found.files)
        seconds = time.perf_counter() - started
        for study in tally.studies():
            sinks.write(study)
        summary = tally.run(
            bundle=bundle,
            pipeline=pipeline,
            seconds=seconds,
            interrupted=interrupted,
            left_out=found.left_out,
        )
        sinks.write(summary)
    if job.page and job.output is not None:
        write_page(job.output, bundle, job.note)
    _say_where(job, summary)
    if interrupted:
        return EXIT_INTERRUPTED
    return worst_exit_code(
        InputError.exit_code if tally.rejected else 0,
        IndeterminateError.exit_code if strict and tally.indeterminate else 0,
    )


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Let the first Ctrl-C or SIGTERM end the run after the slice at hand, a second one at once."""
    stop = threading.Event()

    def handle(_: int, __: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _analysed(
    found: Discovery, job: _Job, pipeline: Pipeline, stop: threading.Event
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
            stop=stop.is_set,
        )


def _common_folder(files: Sequence[Path]) -> str:
    """Return what all paths begin with, or nothing where they are mixed."""
    try:
        common = os.path.commonpath([file.parent for file in files])
    except ValueError:  # no file, or absolute and relative paths
        return ""
    return source_name(common) + os.sep if common else ""


def _say_where(job: _Job, summary: RunResult) -> None:
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

    def __init__(self, job: _Job, files: Sequence[Path], stack: ExitStack) -> None:
        stdout = record_writer(
            job.form,
            sys.stdout.buffer,
            name="standard output",
            slices=len(files),
            root=_common_folder(files),
        )
        # A bar below rows that are being printed would be drawn into them.
        self.on_screen = sys.stdout.isatty() and (job.form != "text" or len(files) <= ROWS_SHOWN)
        self._writers = [stdout]
        if job.output is not None:
            file = stack.enter_context(job.output.open_results())
            self._writers.append(record_writer("jsonl", file, name=str(job.output.results)))

    def write(self, record: Record) -> None:
        for writer in self._writers:
            writer.write(record)
