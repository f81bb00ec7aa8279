"""The plots of the evaluation report, each as PNG.

Figures are made without pyplot: no global state, no window system.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.errors import ExtraNotInstalledError
from scanside.evaluation.metrics import dice, roc_curve
from scanside_training.evaluate import SIZES, decided, outcomes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scanside.evaluation.gating import Outcomes
    from scanside_training.document import Metrics
    from scanside_training.evaluate import Patient

__all__ = ["COLORS", "figure", "plots", "png", "require_matplotlib"]

COLORS: Final = {
    "blue": "#2a6f97",
    "orange": "#d1741f",
    "green": "#3c8d5a",
    "red": "#b33a3a",
    "grey": "#8a949e",
}
"""Told apart in print and with the usual colour blindness by lightness, too."""

_DPI: Final = 130
_NAMED_PATIENTS: Final = 30
"""Past that many, patients' names do not fit beside the bars; the table has them."""


def require_matplotlib(command: str) -> None:
    """Refuse a command whose plots could not be drawn.

    Parameters
    ----------
    command
        For instance ``scanside evaluate``.

    Raises
    ------
    ExtraNotInstalledError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401 - whether it is there
    except ImportError:
        raise ExtraNotInstalledError(command, package="matplotlib", extra="report") from None


def figure(width: float = 5.6, height: float = 4.2) -> tuple[Any, Any]:
    """Return a figure with one pair of axes; sizes in inches."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e3e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    return drawn, axes


def png(drawn: Any) -> bytes:  # noqa: ANN401 - matplotlib has no types here
    """Encode a figure, without the version and date that would make equal plots differ."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def plots(metrics: Metrics, patients: Sequence[Patient]) -> dict[str, bytes]:
    """Draw every plot of the report.

    Parameters
    ----------
    metrics
        The figures.
    patients
        What they were made of.

    Returns
    -------
    dict of str to bytes
        PNG by title.
    """
    outcomes = outcomes_of(patients)
    return {
        "ROC of the classifier": _roc(metrics, outcomes),
        "Calibration of the classifier": _calibration(metrics),
        "What the gate costs and saves": _cost(metrics),
        "Volume Dice by patient, after gating": _by_patient(metrics),
        "Slice Dice by lesion size, without a gate": _by_size(outcomes),
        "Positive slices by lesion size": _confusion_by_size(metrics, outcomes),
    }


def _roc(metrics: Metrics, outcomes: Outcomes) -> bytes:
    curve = roc_curve(outcomes.true > 0, outcomes.probability)
    drawn, axes = figure()
    axes.plot([0, 1], [0, 1], color=COLORS["grey"], linestyle=":", linewidth=1)
    axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=COLORS["blue"])
    points = (
        ("at_gate", f"gate {metrics.thresholds.gate:.3g}", "o"),
        ("at_half", "probability 0.5", "s"),
    )
    for name, label, marker in points:
        recall = metrics.figures[f"classifier.{name}.recall"].value
        specificity = metrics.figures[f"classifier.{name}.specificity"].value
        if recall is not None and specificity is not None:
            axes.plot(1 - specificity, recall, marker, color=COLORS["orange"], label=label)
    auc = metrics.figures["classifier.auc"]
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1), ylim=(0, 1.02))
    if auc.value is None:
        axes.set_title("not defined: slices of one class alone", fontsize=10)
    else:
        axes.set_title(f"AUC {_interval(auc.value, auc.low, auc.high)}", fontsize=10)
        axes.legend(frameon=False, loc="lower right")
    return png(drawn)


def _calibration(metrics: Metrics) -> bytes:
    drawn, axes = figure()
    axes.plot([0, 1], [0, 1], color=COLORS["grey"], linestyle=":", linewidth=1)
    bins = metrics.calibration
    axes.plot(
        [each["predicted"] for each in bins],
        [each["observed"] for each in bins],
        "o-",
        color=COLORS["blue"],
    )
    for each in bins:
        axes.annotate(
            f"{each['slices']:.0f}",
            (each["predicted"], each["observed"]),
            xytext=(6, -10),
            textcoords="offset points",
            fontsize=8,
            color="#41505e",
        )
    axes.set(
        xlabel="mean probability of the bin",
        ylabel="share of positive slices",
        xlim=(-0.02, 1.05),
        ylim=(-0.02, 1.05),
    )
    axes.set_title("numbers: slices in the bin", fontsize=10)
    return png(drawn)


def _cost(metrics: Metrics) -> bytes:
    drawn, axes = figure()
    curve = metrics.cost_curve
    skipped = _column(curve, "skipped")
    series = (
        ("lesion_sensitivity", "sensitivity, lesions of 100 px or more", "blue", "-"),
        ("sensitivity", "sensitivity, all positive slices", "blue", "--"),
        ("volume_dice", "volume Dice", "orange", "-"),
        ("indeterminate", "indeterminate share", "red", "-"),
    )
    for name, label, color, style in series:
        axes.plot(skipped, _column(curve, name), style, color=COLORS[color], label=label)
    here = metrics.figures["pipeline.skipped"].value
    if here is not None:
        axes.axvline(here, color=COLORS["grey"], linewidth=1)
        axes.annotate(
            f"gate {metrics.thresholds.gate:.3g}",
            (here, 0.5),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color="#41505e",
        )
    axes.set(xlabel="share of slices that the gate skips", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    return png(drawn)


def _by_patient(metrics: Metrics) -> bytes:
    rows = sorted(metrics.patients, key=lambda row: row.volume_dice)
    named = len(rows) <= _NAMED_PATIENTS
    drawn, axes = figure(height=max(4.2, 0.19 * len(rows)) if named else 4.2)
    places = np.arange(len(rows))
    alone = [np.nan if r.segmenter_volume_dice is None else r.segmenter_volume_dice for r in rows]
    gated = [row.volume_dice for row in rows]
    axes.hlines(places, 0, gated, color=COLORS["blue"], linewidth=1, alpha=0.4)
    axes.plot(gated, places, "o", color=COLORS["blue"], markersize=5, label="after gating")
    axes.plot(
        alone,
        places,
        "o",
        markerfacecolor="none",
        markeredgecolor=COLORS["orange"],
        markersize=8,
        label="positive slices alone",
    )
    if named:
        axes.set_yticks(places, [row.patient for row in rows], fontsize=7)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(rows)} patients, by Dice")
    axes.set(xlabel="volume Dice", xlim=(0, 1), ylim=(-0.8, len(rows) - 0.2))
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return png(drawn)


def _by_size(outcomes: Outcomes) -> bytes:
    positive = outcomes.where(outcomes.true > 0)
    per_slice = dice(positive.intersection, positive.predicted, positive.true)
    drawn, axes = figure()
    axes.scatter(positive.true, per_slice, s=7, color=COLORS["blue"], alpha=0.35, linewidths=0)
    for size in SIZES:
        inside = size.holds(positive.true)
        if inside.any():
            ends = positive.true[inside].min(), positive.true[inside].max()
            median = np.median(per_slice[inside])
            axes.plot(ends, (median, median), color=COLORS["orange"], linewidth=2.5)
    axes.set(xlabel="pixels of tumour in the slice", ylabel="Dice", ylim=(-0.02, 1.02))
    axes.set_xscale("log")
    axes.set_xlim(positive.true.min(initial=10) * 0.8, positive.true.max(initial=10) * 1.25)
    axes.set_title("line: median of the size bin", fontsize=10)
    return png(drawn)


def _confusion_by_size(metrics: Metrics, outcomes: Outcomes) -> bytes:
    thresholds = metrics.thresholds
    found, unsure = decided(outcomes, thresholds)
    passed = outcomes.probability >= thresholds.gate
    outlined = outcomes.intersection > 0
    fates = (
        ("outlined", found & outlined, "green"),
        ("outlined elsewhere", found & ~outlined, "orange"),
        ("indeterminate", unsure, "grey"),
        ("segmented to nothing", passed & ~found & ~unsure, "blue"),
        ("skipped by the gate", ~passed, "red"),
    )
    groups = [(size.label, size.holds(outcomes.true)) for size in SIZES]
    groups = [(label, inside) for label, inside in groups if inside.any()]
    drawn, axes = figure()
    bottom = np.zeros(len(groups))
    places = np.arange(len(groups))
    for label, fate, color in fates:
        shares = np.array([fate[inside].mean() for _, inside in groups])
        axes.bar(places, shares, bottom=bottom, color=COLORS[color], label=label, width=0.7)
        bottom += shares
    axes.set_xticks(places, [f"{label}\nn={inside.sum()}" for label, inside in groups], fontsize=8)
    axes.set(xlabel="pixels of tumour in the slice", ylabel="share of slices", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return png(drawn)


def _column(curve: Sequence[dict[str, float | None]], name: str) -> list[float]:
    return [np.nan if (value := point[name]) is None else value for point in curve]


def _interval(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} (95 % CI {low:.3f} to {high:.3f})"
