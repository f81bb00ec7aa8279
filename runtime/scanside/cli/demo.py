"""``scanside demo``: the whole of it, shown with the very commands that a user would type."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from scanside.cli.say import show
from scanside.errors import OutputError
from scanside.plain import plain

__all__ = ["demo"]

_PHANTOMS: Final = "These slices are phantoms: made by a program, no patient's images."
_PATIENTS: Final = 2
_SLICES: Final = 16
_SEED: Final = 1500


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--bundle", type=click.Path(path_type=Path), help="Another bundle than the default.")
@click.option(
    "--from-scratch",
    is_flag=True,
    help="Go through every stage on phantoms: data, training, export, evaluation, report.",
)
def demo(*, folder: Path | None, output: Path, bundle: Path | None, from_scratch: bool) -> None:
    """Analyse phantoms, or the slices in FOLDER, and write pictures and a page.

    Every step is a command of its own; each is shown as it is run.
    """
    if from_scratch and (folder is not None or bundle is not None):
        raise click.UsageError("--from-scratch takes neither FOLDER nor --bundle")
    if folder is not None and output.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise click.UsageError(f"FOLDER {folder} lies in --output {output}, which is emptied first")
    _empty(output)
    if from_scratch:
        _all_stages(output)
        return
    note: list[object] = []
    if folder is None:
        folder = output / "phantoms"
        note = ["--note", _PHANTOMS]
        click.echo(f"{_PHANTOMS}\n", err=True)
        _scanside(
            "data", "phantom", folder, "--patients", _PATIENTS, "--slices", _SLICES, "--seed", _SEED
        )
    results = output / "results"
    chosen: list[object] = [] if bundle is None else ["--bundle", bundle]
    _scanside("verify", *([] if bundle is None else [bundle]))
    _scanside("run", folder, "--output", results, "--format", "text", "--page", *note, *chosen)
    show(["", f"Open {results / 'index.html'} to see the outlines."])


def _all_stages(output: Path) -> None:
    """Train, export, evaluate and run on phantoms; the figures say nothing about patients."""
    click.echo(
        "Every stage on phantoms, small and short: what comes out says nothing about patients.\n",
        err=True,
    )
    data, unseen = output / "phantoms", output / "unseen"
    split, bundle = output / "split.json", output / "bundle"
    keras = [output / kind / f"{kind}.keras" for kind in ("classifier", "segmenter")]
    labelled = ["--data", data, "--split", split]
    _scanside("data", "phantom", data, "--patients", 24, "--slices", 12, "--seed", 1)
    _scanside("data", "split", data, "--output", split, "--seed", 1)
    for model in keras:
        _scanside("train", model.stem, "--preset", "phantom", *labelled, "--output", model.parent)
    chosen = output / "validation"
    _scanside(
        *("evaluate", *keras, *labelled, "--part", "validation", "--sensitivity", 0.95),
        *("--output", chosen),
    )
    _scanside(
        *("export", *keras, "--thresholds", chosen / "thresholds.json", "--dataset", "phantoms"),
        *("--output", bundle),
    )
    _scanside("verify", bundle)
    _scanside("evaluate", bundle, *labelled, "--part", "test", "--output", output / "report")
    _scanside("data", "phantom", unseen, "--patients", 1, "--slices", 12, "--seed", 900)
    results = output / "results"
    _scanside("run", unseen, "--bundle", bundle, "--output", results, "--format", "text", "--page")
    report, pictures = output / "report" / "report.html", results / "index.html"
    show(["", f"Report: {report}", f"Pictures: {pictures}"])


def _scanside(*words: object) -> None:
    """Show a command and run it as the user would, in a process of its own."""
    arguments = [str(word) for word in words]
    click.echo(plain(f"$ {shlex.join(['scanside', *arguments])}"), err=True)
    done = subprocess.run([sys.executable, "-m", "scanside", *arguments], check=False)  # noqa: S603 - ours
    if done.returncode != 0:
        # The step has said what was wrong.
        click.get_current_context().exit(done.returncode)


def _empty(output: Path) -> None:
    """Remove an earlier demonstration; refuse a folder that is something else."""
    mark = output / ".scanside-demo"
    try:
        if output.exists():
            if not mark.exists() and any(output.iterdir()):
                raise OutputError(
                    f"{output} is there and was not made by scanside demo",
                    remedy="name another --output",
                )
            shutil.rmtree(output)
        output.mkdir(parents=True)
        mark.touch()
    except OSError as error:
        raise OutputError(
            f"{output}: {error.strerror or error}", remedy="name another --output"
        ) from error
