"""The figures that a manifest quotes, from the ``metrics.json`` of an evaluation."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from scanside.bundlestore import MANIFEST
from scanside.contract import Thresholds, field_path
from scanside.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["read_figures", "read_figures_of_bundle"]

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
    robustness: dict[str, dict[str, dict[str, float | None]]] = msgspec.field(default_factory=dict)


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
        ``subject`` (the dataset and the part of it), ``models``, ``bootstrap``, ``notes``,
        ``figures``: value, low and high by dotted name, and ``robustness``: the same by change.

    Raises
    ------
    UsageError
        If the file can't be read or is no such document.
    BundleError
        If the figures were measured at other thresholds, or on other models.
    """
    metrics = _read(path)
    _check_thresholds(path, metrics.thresholds, thresholds)
    _check_models(path, metrics.models.sha256, models)
    return _quoted(metrics)


def read_figures_of_bundle(
    path: Path, thresholds: Thresholds, manifest_sha256: str
) -> dict[str, Any]:
    """Read the figures that were measured on a bundle itself.

    Parameters
    ----------
    path
        ``metrics.json``, as ``scanside evaluate BUNDLE`` writes it.
    thresholds
        The thresholds of the bundle.
    manifest_sha256
        Hash of the bundle's manifest.

    Returns
    -------
    dict
        As `read_figures`, with its errors.
    """
    metrics = _read(path)
    _check_thresholds(path, metrics.thresholds, thresholds)
    measured = metrics.models.sha256.get(MANIFEST)
    if measured != manifest_sha256:
        raise BundleError(
            f"{path} was measured on {metrics.models.name} ({MANIFEST} {str(measured)[:12]})",
            accepted=f"figures of this very bundle ({MANIFEST} {manifest_sha256[:12]})",
            remedy="run scanside evaluate on it",
        )
    return _quoted(metrics)


def _read(path: Path) -> _Metrics:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Metrics)
    except msgspec.ValidationError as error:
        what, field = field_path(error)
        raise _no_metrics(f"{path}: {field}: {what}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise _no_metrics(f"{path}: {error}") from None


def _quoted(metrics: _Metrics) -> dict[str, Any]:
    return {
        "subject": metrics.subject,
        "models": msgspec.to_builtins(metrics.models),
        "bootstrap": metrics.bootstrap,
        "notes": list(metrics.notes),
        "figures": {
            name: _ends(figure)
            for name, figure in metrics.figures.items()
            if name.startswith(_GROUPS)
        },
        "robustness": {
            change: {name: _ends(figure) for name, figure in figures.items()}
            for change, figures in metrics.robustness.items()
        },
    }


def _ends(figure: dict[str, float | None]) -> dict[str, float | None]:
    return {end: figure.get(end) for end in ("value", "low", "high")}


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
