"""``scanside compare``: two precisions, backends or bundles on the same slices."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from scanside.cli.options import slice_options
from scanside.cli.progress import progress
from scanside.cli.say import say
from scanside.comparison.limits import Limits
from scanside.comparison.page import page_html
from scanside.comparison.records import ComparisonResult, SlicePair, to_json_line
from scanside.comparison.sides import OpenSide, open_side, parse_side
from scanside.comparison.slices import find_input, read_slices
from scanside.comparison.study import Study
from scanside.comparison.text import to_text
from scanside.errors import InputError, ParityError
from scanside.runner import Options
from scanside.writers.files import OutputFolder, output_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scanside.comparison.slices import Input, ReadSlice
    from scanside.preprocess import Window
    from scanside.study.grid import Spacing

__all__ = ["compare"]

_WORST: Final = 8
"""Pictures of each kind: what a person looks through."""


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Slices that `scanside run` accepts, or a labelled dataset.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for records, pictures and the page.",
)
@click.option(
    "--labelled/--unlabelled",
    default=None,
    help="Whether FOLDER is a labelled dataset.  [default: it is if it has a folder per patient,"
    " and masks]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    help="The summary on stdout.  [default: text on a terminal, json otherwise]",
)
@click.option(
    "--max-probability-difference",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Fail (exit code 5) if tumor_probability differs by more on any slice.",
)
@click.option(
    "--min-dice",
    type=click.FloatRange(0, 1),
    metavar="DICE",
    help="Fail if the mask Dice of A against B is lower on any slice where either has 100 px.",
)
@click.option(
    "--max-flips",
    type=click.IntRange(0),
    metavar="N",
    help="Fail if more slices have another route, another finding or another status.",
)
@click.option(
    "--worst",
    type=click.IntRange(0, 99),
    default=_WORST,
    show_default=True,
    metavar="N",
    help="Pictures of the slices that differ most, by mask and by probability.",
)
@slice_options
@click.option("--overwrite", is_flag=True, help="Replace the results that --output holds.")
def compare(  # noqa: PLR0913 - one parameter an option
    *,
    a: str,
    b: str,
    data: Path,
    output: Path,
    labelled: bool | None,
    form: str | None,
    max_probability_difference: float | None,
    min_dice: float | None,
    max_flips: int | None,
    worst: int,
    window: Window | None,
    fill_missing: bool,
    spacing: Spacing | None,
    overwrite: bool,
) -> int:
    """Tell two sides apart: A and B, each [BUNDLE][:PRECISION][@BACKEND].

    A bare precision means the default bundle in it: `scanside compare int8@cpu int8@openvino`. Both
    sides are run on the same prepared slices, each with its own bundle's thresholds. The exit code
    is 0 whatever the difference, unless a limit is given.
    """
    if spacing is not None and spacing.between_slices is not None:
        raise click.UsageError(
            "--spacing takes ROW,COLUMN here: areas are compared, no volumes in ml"
        )
    specs = parse_side(a), parse_side(b)
    limits = Limits(max_probability_difference, min_dice, max_flips)
    options = Options(window, fill_missing, spacing)
    with ExitStack() as stack:
        folder = stack.enter_context(closing(OutputFolder(output, overwrite=overwrite)))
        sides = [
            _opened(name, open_side(name, spec), stack)
            for name, spec in zip("AB", specs, strict=True)
        ]
        names = [side.described.backend for side in sides]
        if names[0] != names[1] and "auto" in {spec.backend for spec in specs}:
            say(
                f"A runs on {names[0]} and B on {names[1]}, as auto chose: name one after"
                " @ to compare both on the same"
            )
        found = _find(data, labelled=labelled)
        study = Study((sides[0], sides[1]), found, options, worst=worst)
        folder.clear()
        result = _write(study, folder, limits, _shown(found, options))
    form = form or ("text" if sys.stdout.isatty() else "json")
    if form == "text":
        click.echo(to_text(result), nl=False)
    else:
        click.echo(msgspec.json.encode(result))
    say(f"records in {folder.results}; page: {folder.page}")
    return _exit(result)


def _opened(name: str, side: OpenSide, stack: ExitStack) -> OpenSide:
    stack.enter_context(side.pipeline)
    if side.pipeline.fallback is not None:
        say(f"{name} uses {side.described.backend}: {side.pipeline.fallback}")
    return side


def _find(data: Path, *, labelled: bool | None) -> Input:
    found = find_input(data, labelled=labelled)
    what = "a labelled dataset" if found.labelled else "plain slices: no figures against a truth"
    say(f"{data}: {len(found.files):,} files, {what}")
    return found


def _shown(found: Input, options: Options) -> Iterator[ReadSlice]:
    """Yield the slices, with progress by files: a file may hold many."""
    files, last = 0, None
    with progress(len(found.files), "files") as update:
        for read in read_slices(found, options):
            if read.file != last:
                last, files = read.file, files + 1
                update(files - 1)
            yield read


def _write(
    study: Study, folder: OutputFolder, limits: Limits, slices: Iterable[ReadSlice]
) -> ComparisonResult:
    """Compare, and write records as they come, then the pictures and the page."""
    with folder.open_results() as lines:

        def put(record: SlicePair | ComparisonResult) -> None:
            with output_errors(folder.results):
                lines.write(to_json_line(record))
                lines.flush()

        for record in study.compare(slices):
            put(record)
        result, pictures = study.result(limits)
        for name, png in pictures.items():
            folder.write(name, png)
        put(result)
    folder.write(folder.page.name, page_html(result))
    return result


def _exit(result: ComparisonResult) -> int:
    """Return the exit code, or name the limits that failed."""
    failed = [limit for limit in result.limits if not limit.passed]
    if failed:
        listed = "; ".join(f"{each.name}: {each.found}, wanted {each.wanted}" for each in failed)
        raise ParityError(
            f"A ({result.a.label}) and B ({result.b.label}) differ too much: {listed}",
            remedy="look at the worst slices on the page",
        )
    return InputError.exit_code if result.data.rejected else 0
