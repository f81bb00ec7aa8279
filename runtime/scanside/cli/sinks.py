"""Where the records of a run go."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from scanside.readers.image import source_name
from scanside.writers.records import ROWS_SHOWN, record_writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from scanside.records import Record
    from scanside.writers.files import OutputFolder

__all__ = ["Sinks"]


class Sinks:
    """Where records go: stdout in the wanted format, and the output folder as JSON lines.

    Parameters
    ----------
    form
        One of `FORMATS`.
    output
        The output folder; none for stdout alone.
    slices
        How many slices will come, as far as it is known.
    files
        The image files among the inputs: the table leaves out what their paths share.
    stack
        Closes the file of records.
    """

    def __init__(
        self,
        form: str,
        output: OutputFolder | None,
        *,
        slices: int,
        files: Sequence[Path],
        stack: ExitStack,
    ) -> None:
        stdout = record_writer(
            form,
            sys.stdout.buffer,
            name="standard output",
            slices=slices,
            root=_common_folder(files),
        )
        # A bar below rows that are being printed would be drawn into them.
        self.on_screen = sys.stdout.isatty() and (form != "text" or slices <= ROWS_SHOWN)
        self._writers = [stdout]
        if output is not None:
            file = stack.enter_context(output.open_results())
            self._writers.append(record_writer("jsonl", file, name=str(output.results)))

    def write(self, record: Record) -> None:
        """Write a record everywhere."""
        for writer in self._writers:
            writer.write(record)


def _common_folder(files: Sequence[Path]) -> str:
    """Return what all paths begin with, or nothing where they are mixed."""
    try:
        common = os.path.commonpath([file.parent for file in files])
    except ValueError:  # no file, or absolute and relative paths
        return ""
    return source_name(common) + os.sep if common else ""
