"""The figures of merit, each with a rule for the cases in which it is not defined.

What is not defined is ``nan`` (or ``inf``, a distance to nothing), never a made-up number; the
rule stands with each function.
"""

from scanside.evaluation.metrics.classification import (
    CalibrationBin,
    Confusion,
    RocCurve,
    auc,
    average_precision,
    brier_score,
    calibration_curve,
    confusion,
    expected_calibration_error,
    roc_curve,
)
from scanside.evaluation.metrics.segmentation import (
    Overlap,
    dice,
    hausdorff95,
    iou,
    overlap,
    surface,
)

__all__ = [
    "CalibrationBin",
    "Confusion",
    "Overlap",
    "RocCurve",
    "auc",
    "average_precision",
    "brier_score",
    "calibration_curve",
    "confusion",
    "dice",
    "expected_calibration_error",
    "hausdorff95",
    "iou",
    "overlap",
    "roc_curve",
    "surface",
]
