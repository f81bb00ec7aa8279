"""What commands say to people: lines that may hold names of files, and never steer a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scanside.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["say", "show"]


def say(line: str) -> None:
    """Say on stderr what a command does, beside its results."""
    click.echo(plain(f"scanside: {line}"), err=True)


def show(lines: Iterable[str]) -> None:
    """Print lines of results for people on stdout."""
    click.echo("\n".join(map(plain, lines)))
