"""The `scanside` command: a group that loads a command's file when it is called."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from scanside.cli.say import say, tell
from scanside.errors import (
    EXIT_INTERRUPTED,
    InternalError,
    OutputError,
    ScansideError,
    out_of_memory,
)
from scanside.plain import plain

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["cli", "main"]

_COMMANDS: Final = {
    "bench": ("scanside.cli.bench:bench", "Measure what a slice costs on this device."),
    "compare": ("scanside.cli.compare:compare", "Tell two precisions, backends or bundles apart."),
    "demo": ("scanside.cli.demo:demo", "Show the whole of it on phantoms, or on your slices."),
    "doctor": ("scanside.cli.doctor:doctor", "Say what this device has, and what it lacks."),
    "info": ("scanside.cli.info:info", "Say what a bundle holds."),
    "listen": ("scanside.cli.listen:listen", "Be the DICOM node beside a scanner or PACS."),
    "run": ("scanside.cli.run:run", "Analyse slices."),
    "serve": ("scanside.cli.serve:serve", "Serve another program: frames in, masks out."),
    "verify": ("scanside.cli.verify:verify", "Check a bundle on this device against its goldens."),
}
"""The runtime's commands, each with its first line of help: listing them imports none."""

_ENTRY_POINTS: Final = "scanside.commands"
"""Other packages add commands through this group of entry points."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return sorted({*_COMMANDS, *(entry.name for entry in _entry_points())})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command."""
        if name in _COMMANDS:
            return _load(_COMMANDS[name][0])
        for entry in _entry_points():
            if entry.name == name:
                return _from_entry_point(entry)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the runtime's commands, then those of the other packages."""
        rows = [(name, text) for name, (_, text) in sorted(_COMMANDS.items())]
        others = [
            (name, command.get_short_help_str(limit=76))
            for name in self.list_commands(ctx)
            if name not in _COMMANDS and (command := self.get_command(ctx, name)) is not None
        ]
        for title, lines in (("Commands", rows), ("From dataset to bundle", others)):
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scanside", prog_name="scanside")
def cli() -> None:
    """Two-stage brain-tumour analysis beside the MRI scanner.

    Every slice is classified; only positive slices are segmented. Research use only: not a
    medical device.
    """


def main() -> NoReturn:
    """Run the command line and exit with the code of what happened."""
    code = _run()
    try:
        sys.stdout.flush()
    except OSError:
        # What is still held for a full or closed stdout can't be written by Python's own last
        # flush either, which would end the process with 120 in place of the code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run() -> int:
    # Of numpy's matrix products, which are of 3 x 3 here: its threads are made at import, and spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: `>&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    try:
        result = cli.main(prog_name="scanside", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - each kind has its exit code
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: BaseException) -> int:
    """Say what ended the command, and return its exit code."""
    own = _own(error)
    if own is not None:
        return tell(own)
    if isinstance(error, click.ClickException):
        error.show(told := io.StringIO())
        click.echo(_plain_lines(told.getvalue().expandtabs()), err=True, nl=False)
        return error.exit_code
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        say("interrupted")
        return EXIT_INTERRUPTED
    return _defect(error)


def _own(error: BaseException) -> ScansideError | None:
    """Return what scanside calls an error; none where it has no name for it."""
    if isinstance(error, ScansideError):
        return error
    if isinstance(error, SystemExit):  # click ends the process so where a pipe is closed
        return OutputError("standard output: the reader has closed the pipe")
    if isinstance(error, OSError) and error.filename is None:
        return OutputError(f"standard output: {error.strerror or error}")
    if isinstance(error, MemoryError):
        return out_of_memory()
    return None


def _defect(error: BaseException) -> int:
    import traceback

    click.echo(_plain_lines("".join(traceback.format_exception(error))), err=True, nl=False)
    return tell(
        InternalError(
            f"{type(error).__name__}: {error}",
            remedy="this is a defect of scanside: please report it with the lines above",
        )
    )


def _plain_lines(text: str) -> str:
    return "\n".join(map(plain, text.split("\n")))


def _entry_points() -> EntryPoints:
    # Imported here: it costs a tenth of a cold start, and the runtime's commands don't need it.
    from importlib.metadata import entry_points

    return entry_points(group=_ENTRY_POINTS)


def _from_entry_point(entry: EntryPoint) -> click.Command:
    command: click.Command = entry.load()
    return command


def _load(target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    return command
