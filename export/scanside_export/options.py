"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

__all__ = ["batch", "spelled"]


def batch(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int, int] | None:
    """Read ``--batch 1,OPT,MAX``, the callback of that option; none where it is not given.

    Raises
    ------
    click.BadParameter
        If it is not three numbers in order, or the first is not 1: on the latency path each
        slice goes by itself, and a backend refuses an engine that does not take one.
    """
    import click

    if value is None:
        return None
    try:
        low, best, high = (int(part) for part in value.split(","))
    except ValueError:
        low = best = high = 0
    if not 1 == low <= best <= high:
        raise click.BadParameter(f"{value!r}; accepted: 1,OPT,MAX in order, for one slice or more")
    return low, best, high


def spelled(value: object) -> str:
    """Return the value of an option as it was given, for a command line that is recorded."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
