"""Options that several commands share, and their values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scanside.contract import PRECISIONS
from scanside.preprocess import Window
from scanside.study.grid import Spacing

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["backend_options", "bundle_option", "pin_option", "slice_options"]

F = TypeVar("F", bound="Callable[..., Any]")


def _numbers(value: str, form: str, *counts: int) -> list[float]:
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts or not all(map(math.isfinite, numbers)):
        raise click.BadParameter(f"{value!r}; accepted: finite numbers as {form}")
    return numbers


def _window(_: click.Context, __: click.Parameter, value: str | None) -> Window | None:
    if value is None:
        return None
    window = Window(*_numbers(value, "LO,HI", 2))
    if not window.low < window.high:
        raise click.BadParameter(f"{value!r}; accepted: LO below HI")
    return window


def _spacing(_: click.Context, __: click.Parameter, value: str | None) -> Spacing | None:
    if value is None:
        return None
    numbers = _numbers(value, "ROW,COLUMN[,BETWEEN_SLICES]", 2, 3)
    if min(numbers) <= 0:
        raise click.BadParameter(f"{value!r}; accepted: millimetres above 0")
    return Spacing(*numbers)


def bundle_option(command: F) -> F:
    """Add ``--bundle``."""
    return click.option(
        "--bundle",
        type=click.Path(path_type=Path),
        help="Folder or .zip of the bundle.  [default: the one that ships]",
    )(command)


def pin_option(command: F) -> F:
    """Add ``--bundle-sha256``."""
    return click.option(
        "--bundle-sha256",
        metavar="HEX",
        help="Refuse the bundle unless its manifest.json has this sha256.",
    )(command)


def backend_options(command: F) -> F:
    """Add ``--backend`` and ``--precision``."""
    command = click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="Precision of the models.  [default: the bundle's]",
    )(command)
    return click.option(
        "--backend",
        default="auto",
        show_default=True,
        metavar="auto|tensorrt|tensorrt-rtx|ort-trt|cuda|openvino|cpu",
        help="What computes; auto takes the best that can be used here and says why.",
    )(command)


def slice_options(command: F) -> F:
    """Add ``--window``, ``--fill-missing`` and ``--spacing``."""
    command = click.option(
        "--spacing",
        callback=_spacing,
        metavar="ROW,COLUMN[,BETWEEN_SLICES]",
        help="Millimetres between rows, columns and slices: results in mm2, mm and ml.",
    )(command)
    command = click.option(
        "--fill-missing",
        is_flag=True,
        help="Take a grey slice as FLAIR and let it stand in for the other two sequences.",
    )(command)
    return click.option(
        "--window",
        callback=_window,
        metavar="LO,HI",
        help="Stored values that become black and white, for 16-bit and float slices.",
    )(command)
