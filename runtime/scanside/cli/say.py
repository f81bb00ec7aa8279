"""What commands say to people: lines that may hold names of files, and never steer a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scanside.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scanside.errors import ScansideError

__all__ = ["say", "show", "tell"]


def say(line: str) -> None:
    """Say on stderr what a command does, beside its results."""
    click.echo(plain(f"scanside: {line}"), err=True)


def tell(error: ScansideError) -> int:
    """Say on stderr what an error is about, and return its exit code."""
    sentence, *places = error.lines()
    say(f"error: {sentence}")
    for place in places:
        click.echo(plain(place), err=True)
    return error.exit_code


def show(lines: Iterable[str]) -> None:
    """Print lines of results for people on stdout."""
    click.echo("\n".join(map(plain, lines)))
