"""A TOML file as a checked structure; an error names the path of the key (``$.phases[0].side``)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from scanside.contract import field_path
from scanside.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["parse_toml", "read_toml"]

T = TypeVar("T")


def read_toml(path: Path, kind: type[T], *, what: str, remedy: str) -> T:
    """Read a file.

    Parameters
    ----------
    path
        The file.
    kind
        A `msgspec.Struct` or a union of tagged ones: unknown and missing keys are errors.
    what
        What the file is, for the message: "the configuration".
    remedy
        Where the accepted keys are written down.

    Raises
    ------
    UsageError
        If the file can't be read, is no TOML or is not of that kind.
    """
    try:
        # Windows editors begin a file with a byte order mark, which TOML does not know.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{what} {path} could not be read: {error}") from error
    try:
        return parse_toml(text, kind, remedy=remedy)
    except UsageError as error:
        raise UsageError(
            f"{what} {path}: {error.given}", accepted=error.accepted, remedy=error.remedy
        ) from error


def parse_toml(text: str, kind: type[T], *, remedy: str) -> T:
    """Parse and check a text; see `read_toml`."""
    try:
        table = _loads(text)
    except ValueError as error:  # tomllib.TOMLDecodeError is one
        raise UsageError(f"not TOML: {error}") from error
    try:
        return msgspec.convert(table, type=kind)
    except msgspec.ValidationError as error:
        problem, path = field_path(error)
        raise UsageError(f"{problem} - at `{path}`", remedy=remedy) from error


def _loads(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    table: dict[str, Any] = tomllib.loads(text)
    return table
