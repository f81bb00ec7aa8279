"""Options of ``scanside run`` that say how DICOM and NIfTI studies are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from scanside.errors import UsageError
from scanside.preprocess import CHANNELS
from scanside.study.volume import WINDOW_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scanside.study.volume import WindowRule

__all__ = ["StudyOptions", "named_series", "study_options"]

F = TypeVar("F", bound="Callable[..., Any]")

_SEQUENCES: Final = dict(zip(("pre", "flair", "post"), CHANNELS, strict=True))
"""Options and the sequences that they name."""


class StudyOptions(NamedTuple):
    """How studies are read.

    Attributes
    ----------
    rules
        The site's rules; none for those that ship.
    fill
        Let FLAIR stand in for a missing sequence.
    window
        How each series' window is chosen.
    named
        Files and folders by sequence, from ``--pre``, ``--flair`` and ``--post``.
    """

    rules: Path | None = None
    fill: bool = False
    window: WindowRule = "auto"
    named: Mapping[str, Path] = {}

    @property
    def settings(self) -> tuple[str, ...]:
        """What changes results, beside the files that were chosen, each as ``name=value``."""
        return (f"series-window={self.window}", *(["fill-missing=yes"] if self.fill else []))


def study_options(command: F) -> F:
    """Add ``--pre``, ``--flair``, ``--post``, ``--rules``, ``--series-window``, ``--explain``."""
    place = click.Path(path_type=Path)
    for option in (
        click.option(
            "--explain", is_flag=True, help="Say what becomes of each series, and analyse nothing."
        ),
        click.option(
            "--series-window",
            type=click.Choice(WINDOW_RULES),
            default="auto",
            show_default=True,
            help="Window of a DICOM or NIfTI series: the file's own, one made of all its values,"
            " or the file's where it covers them.",
        ),
        click.option("--rules", type=place, help="TOML file that says which series is which."),
        click.option("--post", type=place, help="The post-contrast series, whatever its name."),
        click.option("--flair", type=place, help="The FLAIR series, whatever its name."),
        click.option(
            "--pre",
            type=place,
            help="The pre-contrast series: a file or folder of DICOM or NIfTI; with --flair.",
        ),
    ):
        command = option(command)
    return command


def named_series(given: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return what ``--pre``, ``--flair`` and ``--post`` name, by sequence.

    Raises
    ------
    UsageError
        If FLAIR is not among them.
    """
    named = {_SEQUENCES[option]: path for option, path in given.items() if path is not None}
    if named and "FLAIR" not in named:
        raise UsageError(
            "--pre or --post was given without --flair",
            accepted="--flair, with --pre and --post (or --fill-missing)",
        )
    return named
