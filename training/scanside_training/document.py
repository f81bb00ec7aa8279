"""``metrics.json``: every figure of an evaluation, and what it was measured on."""

from __future__ import annotations

import math
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal

import cv2
import msgspec
import numpy as np
from msgspec import Struct

from scanside.contract import Precision, Thresholds  # noqa: TC001 - msgspec reads annotations
from scanside.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, bootstrap
from scanside.evaluation.gating import cost_curve, volumes
from scanside.evaluation.metrics import calibration_curve, dice
from scanside_training.evaluate import decided, figures, outcomes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scanside.evaluation.gating import GatePoint, Outcomes
    from scanside_training.evaluate import Patient

__all__ = [
    "METRICS_SCHEMA",
    "ROBUST",
    "Measurement",
    "Metrics",
    "Models",
    "Subject",
    "build_metrics",
]

METRICS_SCHEMA: Final = "scanside.metrics/1"

ROBUST: Final = {
    "classifier.auc": "AUC",
    "pipeline.lesion_sensitivity_at_gate": "sensitivity at the gate, 100 px and more",
    "pipeline.skipped": "skipped by the gate",
    "segmenter.volume_dice": "volume Dice, segmenter alone",
    "pipeline.volume_dice": "volume Dice, after gating",
}
"""The figures that are told of every variant, with their short labels."""

_SEED: Final = 0
_CURVE_POINTS: Final = 51


class Models(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was measured.

    Attributes
    ----------
    name
        The bundle's name and version, or the names of the ``.keras`` files.
    sha256
        Hashes by file: of the bundle's manifest, or of the ``.keras`` files.
    backend, precision
        What computed the outputs.
    versions
        Of the backend's libraries.
    license, license_notice
        Of the weights, where the bundle says it.
    """

    name: str
    sha256: dict[str, str]
    backend: str
    precision: Precision
    versions: dict[str, str]
    license: str | None = None
    license_notice: str | None = None


class Subject(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What it was measured on.

    Attributes
    ----------
    dataset_sha256
        `Dataset.sha256`.
    part
        ``train``, ``validation``, ``test`` or ``all``.
    split_seed
        Seed of the split; none without one.
    patients, slices, positive
        Numbers of the part.
    """

    dataset_sha256: str
    part: str
    split_seed: int | None
    patients: int
    slices: int
    positive: int


class Measurement(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A figure with its bootstrap interval over patients; none where it is not finite."""

    value: float | None
    low: float | None
    high: float | None
    undefined: float


class Row(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A patient's line.

    Attributes
    ----------
    slices, positive, tumor_px
        Of the truth.
    skipped, found, missed, indeterminate, false_region
        Slices that the gate skipped; positive ones with a mask; positive ones without a mask
        and not indeterminate; indeterminate ones; negative ones with a mask.
    volume_dice
        After gating.
    segmenter_volume_dice
        Of the positive slices, without a gate.
    slice_hd95_median_px
        Of the positive slices, without a gate.
    """

    patient: str
    slices: int
    positive: int
    tumor_px: int
    skipped: int
    found: int
    missed: int
    indeterminate: int
    false_region: int
    volume_dice: float
    segmenter_volume_dice: float | None
    slice_hd95_median_px: float | None


class Metrics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file.

    Attributes
    ----------
    notes
        What has to be known to read the figures.
    figures
        `Measurement` by dotted name; see `scanside_training.evaluate.figures`.
    bootstrap
        How the intervals were drawn.
    calibration
        The reliability diagram of the classifier.
    cost_curve
        What the gate would cost and save at other thresholds.
    patients
        One row each.
    robustness
        The figures of `ROBUST` by variant (`scanside_training.variants`) and name; empty where it
        was not measured.
    versions
        Of scanside, Python, NumPy and OpenCV.
    """

    schema: Literal["scanside.metrics/1"] = METRICS_SCHEMA
    notes: tuple[str, ...]
    models: Models
    subject: Subject
    thresholds: Thresholds
    bootstrap: dict[str, Any]
    figures: dict[str, Measurement]
    calibration: tuple[dict[str, float], ...]
    cost_curve: tuple[dict[str, float | None], ...]
    patients: tuple[Row, ...]
    robustness: dict[str, dict[str, Measurement]] = msgspec.field(default_factory=dict)
    versions: dict[str, str]


def build_metrics(
    patients: Sequence[Patient],
    models: Models,
    subject: Subject,
    thresholds: Thresholds,
    notes: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    variants: Mapping[str, Sequence[Patient]] | None = None,
) -> Metrics:
    """Turn measured patients into the document.

    Parameters
    ----------
    patients
        At least one.
    models, subject, thresholds, notes
        What was measured, on what, at which thresholds, and what the reader must know.
    resamples
        Of the bootstrap.
    variants
        The same patients measured on changed slices, by the change's name.
    """
    outcomes = outcomes_of(patients)

    def estimate(measured: Sequence[Patient]) -> dict[str, Measurement]:
        estimates = bootstrap(
            measured, lambda drawn: figures(drawn, thresholds), seed=_SEED, resamples=resamples
        )
        return {name: _measurement(each) for name, each in estimates.items()}

    return Metrics(
        notes=tuple(notes),
        models=models,
        subject=subject,
        thresholds=thresholds,
        bootstrap={"unit": "patient", "resamples": resamples, "level": LEVEL, "seed": _SEED},
        figures=estimate(patients),
        calibration=tuple(
            each._asdict() for each in calibration_curve(outcomes.true > 0, outcomes.probability)
        ),
        cost_curve=tuple(
            {name: _finite(value) for name, value in point._asdict().items()}
            for point in _curve(outcomes, thresholds)
        ),
        patients=tuple(_row(patient, thresholds) for patient in patients),
        robustness={
            name: {each: value for each, value in estimate(measured).items() if each in ROBUST}
            for name, measured in (variants or {}).items()
        },
        versions={
            "scanside": version("scanside"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    )


def _curve(outcomes: Outcomes, thresholds: Thresholds) -> tuple[GatePoint, ...]:
    """Return the cost at gates that skip nearly equal numbers of slices more, and at the gate."""
    steps = np.quantile(
        outcomes.probability, np.linspace(0, 1, _CURVE_POINTS), method="inverted_cdf"
    )
    gates = sorted({0.0, thresholds.gate, *steps.tolist()})
    return cost_curve(outcomes, gates, thresholds.decision)


def _row(patient: Patient, thresholds: Thresholds) -> Row:
    outcomes = patient.outcomes
    positive = outcomes.true > 0
    found, unsure = decided(outcomes, thresholds)
    alone = dice(*volumes(outcomes.where(positive), 0.0))
    return Row(
        patient=patient.name,
        slices=positive.size,
        positive=int(positive.sum()),
        tumor_px=int(outcomes.true.sum()),
        skipped=int((outcomes.probability < thresholds.gate).sum()),
        found=int((found & positive).sum()),
        missed=int((positive & ~found & ~unsure).sum()),
        indeterminate=int(unsure.sum()),
        false_region=int((found & ~positive).sum()),
        volume_dice=float(dice(*volumes(outcomes, thresholds.gate))[0]),
        segmenter_volume_dice=float(alone[0]) if positive.any() else None,
        slice_hd95_median_px=(
            _finite(float(np.median(patient.hd95[positive]))) if positive.any() else None
        ),
    )


def _measurement(estimate: Estimate) -> Measurement:
    return Measurement(
        value=_finite(estimate.value),
        low=_finite(estimate.low),
        high=_finite(estimate.high),
        undefined=estimate.undefined,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
