"""Tables on a terminal, or as wide as they need to be where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import rich.table
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scanside_calibration.report import Table

__all__ = ["show"]

_WIDTH: Final = 140
"""Columns where there is no terminal to ask."""


def show(tables: Iterable[Table], *, err: bool) -> None:
    """Print tables.

    Parameters
    ----------
    tables
        What to print.
    err
        To stderr instead of stdout.
    """
    console = Console(stderr=err)
    if not console.is_terminal:
        console = Console(stderr=err, width=_WIDTH)
    for table in tables:
        shown = rich.table.Table(title=table.title, title_justify="left")
        for number, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown, markup=False)
