"""The models that an evaluation measures: a bundle's, or two Keras files."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside import backends
from scanside.bundle import open_bundle
from scanside.contract import Thresholds
from scanside.errors import InputError, UsageError
from scanside_training.document import Models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scanside.backends.base import Backend
    from scanside.contract import Precision

__all__ = ["Chosen", "Loaded", "check_models", "open_models"]

_KERAS: Final = ".keras"
_HALF: Final = 0.5


class Chosen(NamedTuple):
    """What was asked for beside the models; none leaves it to the bundle.

    Attributes
    ----------
    backend
        Name of the backend, or ``auto``.
    precision
        Of a bundle.
    gate, decision
        Thresholds in place of the bundle's; of Keras models 0.5, and the gate.
    """

    backend: str = "auto"
    precision: Precision | None = None
    gate: float | None = None
    decision: float | None = None


class Loaded(NamedTuple):
    """Models that are ready.

    Attributes
    ----------
    backend
        What computes.
    described
        What the document says of them.
    thresholds
        Those to measure at.
    dataset_sha256
        The dataset that they come from, where that is known.
    fallback
        What ``auto`` could not use here, and why.
    reason
        By what measurement ``auto`` took this backend.
    """

    backend: Backend
    described: Models
    thresholds: Thresholds
    dataset_sha256: str | None = None
    fallback: str | None = None
    reason: str | None = None


def check_models(paths: Sequence[Path], chosen: Chosen) -> None:
    """Refuse models and choices that do not go together.

    Raises
    ------
    UsageError
        Unless there is one bundle, or two ``.keras`` files without backend and precision.
    """
    keras = [path for path in paths if path.suffix == _KERAS]
    if not (len(paths) == 1 and not keras) and not len(paths) == len(keras) == 2:  # noqa: PLR2004
        raise UsageError(
            f"{len(paths)} models were given: {' '.join(str(path) for path in paths)}",
            accepted="one bundle (a folder or .zip), or CLASSIFIER.keras SEGMENTER.keras",
        )
    if keras and (chosen.backend != "auto" or chosen.precision is not None):
        raise UsageError(
            "--backend and --precision were given for Keras files",
            accepted="them with a bundle; Keras runs its own models in fp32",
            remedy="leave them out, or export the models and evaluate the bundle",
        )


@contextmanager
def open_models(paths: Sequence[Path], chosen: Chosen) -> Iterator[Loaded]:
    """Load the models, and free them in the end.

    Parameters
    ----------
    paths, chosen
        Checked with `check_models`.

    Raises
    ------
    BundleError, BackendError, InputError, ExtraNotInstalledError
        If the models cannot be opened or run here.
    UsageError
        If the decision threshold would be below the gate.
    """
    loaded = (
        _open_keras(paths[0], paths[1], chosen)
        if len(paths) > 1
        else _open_bundle(paths[0], chosen)
    )
    try:
        yield loaded
    finally:
        loaded.backend.close()


def _open_bundle(path: Path, chosen: Chosen) -> Loaded:
    bundle = open_bundle(path)
    manifest = bundle.manifest
    thresholds = _thresholds(manifest.thresholds, chosen)
    ready = backends.load(chosen.backend, bundle, chosen.precision)
    return Loaded(
        ready.backend,
        Models(
            name=bundle.label,
            sha256={"manifest.json": bundle.manifest_sha256},
            backend=ready.backend.name,
            precision=ready.backend.precision,
            versions=ready.backend.describe(),
            license=manifest.license.name,
            license_notice=manifest.license.notice,
        ),
        thresholds,
        manifest.provenance.dataset_sha256,
        ready.fallback,
        ready.reason,
    )


def _open_keras(classifier: Path, segmenter: Path, chosen: Chosen) -> Loaded:
    from scanside_training.keras_backend import KerasBackend

    default = Thresholds(gate=_HALF, decision=_HALF, mask=_HALF, chosen="0.5 by default")
    if chosen.decision is None and chosen.gate is not None:
        chosen = chosen._replace(decision=max(_HALF, chosen.gate))
    thresholds = _thresholds(default, chosen)
    backend = KerasBackend(classifier, segmenter)
    return Loaded(
        backend,
        Models(
            name=f"{classifier.name} and {segmenter.name}",
            sha256={path.name: _sha256(path) for path in (classifier, segmenter)},
            backend=backend.name,
            precision=backend.precision,
            versions=backend.describe(),
        ),
        thresholds,
    )


def _thresholds(default: Thresholds, chosen: Chosen) -> Thresholds:
    if chosen.gate is None and chosen.decision is None:
        return default
    gate = default.gate if chosen.gate is None else chosen.gate
    decision = default.decision if chosen.decision is None else chosen.decision
    if decision < gate:
        raise UsageError(
            f"the gate is {gate:g} and the decision threshold {decision:g}",
            accepted="decision >= gate",
            remedy="give both, --gate and --decision",
        )
    return Thresholds(gate=gate, decision=decision, mask=default.mask, chosen="on the command line")


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror or error}") from error
