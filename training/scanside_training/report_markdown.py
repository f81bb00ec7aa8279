"""``report.md``: an evaluation as Markdown, with plots beside it and no picture of a slice.

Slices of most datasets may not be published; figures and plots made of them may.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scanside_training.document import ROBUST
from scanside_training.evaluate import SIZES
from scanside_training.report import HEADLINES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scanside_training.document import Measurement, Metrics

__all__ = ["plot_name", "report_markdown"]


def plot_name(title: str) -> str:
    """Return a file name for a plot: ``ROC of X`` gives ``roc-of-x.png``."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") + ".png"


def report_markdown(metrics: Metrics, plots: Mapping[str, str]) -> str:
    """Write the page.

    Parameters
    ----------
    metrics
        Every figure.
    plots
        Path of each plot by title, relative to the page.

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join(_lines(metrics, plots)) + "\n"


def _lines(metrics: Metrics, plots: Mapping[str, str]) -> Iterator[str]:
    subject, thresholds = metrics.subject, metrics.thresholds
    yield f"# Evaluation of {metrics.models.name}"
    yield ""
    yield "Not a medical device; research use only."
    yield ""
    yield (
        f"{subject.patients:,} patients, {subject.slices:,} slices, {subject.positive:,} positive:"
        f" the {subject.part} part of the dataset {subject.dataset_sha256[:12]}."
        f" {metrics.models.precision} on {metrics.models.backend}; gate {thresholds.gate:.4g},"
        f" decision {thresholds.decision:.4g}, mask {thresholds.mask:.4g}. Intervals: 95 %"
        " percentile bootstrap over patients."
    )
    for note in metrics.notes:
        yield ""
        yield note
    for title, rows in HEADLINES:
        yield ""
        yield f"## {title}"
        yield ""
        yield from _table(
            ("figure", "value", "95 % interval"),
            ((label, *_parts(metrics.figures[name])) for name, label in rows),
        )
    yield ""
    yield "## By lesion size"
    yield ""
    yield from _sizes(metrics)
    if metrics.robustness:
        yield ""
        yield "## On changed slices"
        yield ""
        yield from _robustness(metrics)
    yield ""
    yield "## By patient"
    yield ""
    yield from _patients(metrics)
    for title, path in plots.items():
        yield ""
        yield f"![{title}]({path})"


def _sizes(metrics: Metrics) -> Iterator[str]:
    columns = ("sensitivity_at_gate", "found", "indeterminate", "slice_dice")
    rows = []
    for size in SIZES:
        group = f"by_size.{size.label}"
        values = (_number(metrics.figures[f"{group}.{name}"].value) for name in columns)
        count = metrics.figures[f"{group}.slices"].value or 0
        rows.append((f"{size.label} px", f"{count:.0f}", *values))
    head = ("tumour in the slice", "slices", "pass the gate", "with a region", "indeterminate")
    yield from _table((*head, "Dice, without a gate"), rows)


def _robustness(metrics: Metrics) -> Iterator[str]:
    rows = (
        (change, *(_number(figures[name].value) for name in ROBUST))
        for change, figures in {"as it is": metrics.figures, **metrics.robustness}.items()
    )
    yield from _table(("change", *ROBUST.values()), rows)


def _patients(metrics: Metrics) -> Iterator[str]:
    rows = (
        (
            row.patient,
            str(row.slices),
            str(row.positive),
            str(row.skipped),
            str(row.missed),
            str(row.indeterminate),
            str(row.false_region),
            _number(row.volume_dice),
            _number(row.segmenter_volume_dice),
        )
        for row in sorted(metrics.patients, key=lambda row: row.volume_dice)
    )
    head = ("patient", "slices", "positive", "skipped", "missed", "indeterminate", "false region")
    yield from _table((*head, "volume Dice, gated", "positive slices alone"), rows)


def _table(
    head: Sequence[str], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]
) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _parts(figure: Measurement) -> tuple[str, str]:
    if figure.low is None or figure.high is None:
        return _number(figure.value), "-"
    return _number(figure.value), f"{_number(figure.low)} to {_number(figure.high)}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004 - three digits
