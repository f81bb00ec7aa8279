"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scanside.cli.say import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress"]

_SECONDS_BETWEEN_LINES: Final = 10.0
_WORTH_A_BAR: Final = 2


@contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a job is, with its rate and an ETA.

    Parameters
    ----------
    total
        The number of things to do.
    unit
        What they are, in the plural.

    Yields
    ------
    callable
        Takes the number of things done so far.
    """
    if total < _WORTH_A_BAR:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar(total, unit) as update:
            yield update
    else:
        yield _lines(total, unit)


@contextmanager
def _bar(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Eta

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), Eta(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(total: int, unit: str) -> Callable[[int], None]:
    started = last = time.monotonic()

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_LINES or done == 0:
            return
        last = now
        rate = done / (now - started)
        left = (total - done) / rate
        say(
            f"{done:,} of {total:,} {unit} ({done / total:.0%}),"
            f" {rate:.1f} a second, {left:.0f} s left"
        )

    return update
