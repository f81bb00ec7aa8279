"""The figures that a manifest quotes, from the ``metrics.json`` of an evaluation."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from scanside.contract import Thresholds, field_path
from scanside.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["read_figures"]

_GROUPS: Final = ("classifier.", "segmenter.", "pipeline.")
"""Figures that are quoted, by the beginning of their names; those by lesion size are not."""

_DECIDING: Final = ("gate", "decision", "mask")


class _Models(msgspec.Struct, frozen=True):
    name: str
    sha256: dict[str, str]
    precision: str


class _Metrics(msgspec.Struct, frozen=True):
    """What the export takes from ``metrics.json``; its curves and tables are not looked at."""

    schema: Literal["scanside.metrics/1"]
    notes: tuple[str, ...]
    models: _Models
    subject: dict[str, Any]
    thresholds: Thresholds
    bootstrap: dict[str, Any]
    figures: dict[str, dict[str, float | None]]


def read_figures(path: Path, thresholds: Thresholds, models: Iterable[Path]) -> dict[str, Any]:
    """Read the figures to quote, and make sure that they are of this bundle.

    Parameters
    ----------
    path
        ``metrics.json``, as ``scanside evaluate`` writes it.
    thresholds
        The thresholds of the bundle.
    models
        The ``.keras`` files of the bundle.

    Returns
    -------
    dict
        ``subject`` (the dataset and the part of it), ``models``, ``bootstrap``, ``notes``, and
        ``figures``: value, low and high by dotted name.

    Raises
    ------
    UsageError
        If the file can't be read or is no such document.
    BundleError
        If the figures were measured at other thresholds, or on other models.
    """
    try:
        metrics = msgspec.json.decode(path.read_bytes(), type=_Metrics)
    except msgspec.ValidationError as error:
        what, field = field_path(error)
        raise _no_metrics(f"{path}: {field}: {what}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise _no_metrics(f"{path}: {error}") from None
    _check_thresholds(path, metrics.thresholds, thresholds)
    _check_models(path, metrics.models.sha256, models)
    return {
        "subject": metrics.subject,
        "models": msgspec.to_builtins(metrics.models),
        "bootstrap": metrics.bootstrap,
        "notes": list(metrics.notes),
        "figures": {
            name: {end: figure.get(end) for end in ("value", "low", "high")}
            for name, figure in metrics.figures.items()
            if name.startswith(_GROUPS)
        },
    }


def _check_thresholds(path: Path, measured: Thresholds, wanted: Thresholds) -> None:
    pairs = [(name, getattr(measured, name), getattr(wanted, name)) for name in _DECIDING]
    if wrong := [f"{name} {one:g}, not {other:g}" for name, one, other in pairs if one != other]:
        raise BundleError(
            f"{path} was measured at {', '.join(wrong)}",
            accepted="figures at the thresholds of the bundle",
            remedy="evaluate again with these thresholds, or export without --metrics",
        )


def _check_models(path: Path, measured: dict[str, str], models: Iterable[Path]) -> None:
    """Refuse figures of other ``.keras`` files; those of a bundle name its manifest only."""
    keras = {digest for name, digest in measured.items() if name.endswith(".keras")}
    given = {hashlib.sha256(model.read_bytes()).hexdigest() for model in models}
    if keras and keras != given:
        raise BundleError(
            f"{path} was measured on other models ({', '.join(sorted(measured))})",
            accepted="figures of the models that are exported",
            remedy="evaluate these models, or export without --metrics",
        )


def _no_metrics(what: str) -> UsageError:
    return UsageError(what, accepted="the metrics.json that scanside evaluate writes")
