"""``report.html``: an evaluation on one page that opens without a network."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Final

from scanside_training.document import ROBUST
from scanside_training.evaluate import SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scanside_training.document import Measurement, Metrics
    from scanside_training.report_pictures import Shown

__all__ = ["HEADLINES", "report_html"]

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem}
body{color:#1c2733;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p.note,dl{color:#41505e;max-width:62rem}dt{font-weight:600}dd{margin:0 0 .4rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.2rem 1rem .2rem 0;text-align:right;border-bottom:1px solid #e3e8ec}
th{font-weight:600;vertical-align:bottom}
td:first-child,th:first-child{text-align:left}
.wide{overflow-x:auto}.ci{color:#5a6875;white-space:nowrap}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));gap:1.5rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1rem}
figure{margin:0}figure img{width:100%;height:auto}
figcaption{font-size:.85rem;color:#41505e;overflow-wrap:anywhere}
.tiles img{background:#000;border-radius:4px}
.plots figcaption{font-weight:600;color:#1c2733;margin-bottom:.3rem}
"""

HEADLINES: Final = (
    ("Pipeline: after gating, on all slices", (
        ("pipeline.volume_dice", "Volume Dice, mean over patients"),
        ("pipeline.volume_iou", "Volume IoU, mean over patients"),
        ("pipeline.slice_dice", "Dice of positive slices, mean"),
        ("pipeline.slice_hd95_median_px", "HD95 of positive slices, median, pixels"),
        ("pipeline.sensitivity", "Positive slices with a region"),
        ("pipeline.specificity", "Negative slices without a region"),
        ("pipeline.lesion_sensitivity_at_gate", "Slices with 100 px or more that pass the gate"),
        ("pipeline.sensitivity_at_gate", "All positive slices that pass the gate"),
        ("pipeline.skipped", "Slices that the gate skips"),
        ("pipeline.indeterminate", "Indeterminate slices"),
    )),
    ("Classifier", (
        ("classifier.auc", "AUC"),
        ("classifier.average_precision", "Average precision"),
        ("classifier.expected_calibration_error", "Expected calibration error"),
        ("classifier.brier", "Brier score"),
        ("classifier.at_half.accuracy", "Accuracy at probability 0.5"),
        ("classifier.at_half.precision", "Precision at 0.5"),
        ("classifier.at_half.recall", "Recall at 0.5"),
        ("classifier.at_half.f1", "F1 at 0.5"),
        ("classifier.at_gate.precision", "Precision at the gate"),
        ("classifier.at_gate.specificity", "Specificity at the gate"),
    )),
    ("Segmenter: positive slices alone, without a gate", (
        ("segmenter.volume_dice", "Volume Dice, mean over patients"),
        ("segmenter.volume_iou", "Volume IoU, mean over patients"),
        ("segmenter.slice_dice", "Dice, mean over slices"),
        ("segmenter.slice_dice_median", "Dice, median over slices"),
        ("segmenter.slice_iou", "IoU, mean over slices"),
        ("segmenter.slice_hd95_mean_px", "HD95, mean over slices with a mask, pixels"),
        ("segmenter.slice_hd95_median_px", "HD95, median over slices, pixels"),
        ("segmenter.no_mask", "Positive slices without a mask"),
    )),
)  # fmt: skip

_TERMS: Final = (
    ("Positive", "a slice with at least one pixel of the reference mask. The masks outline FLAIR"
     " abnormality; no region means that the algorithm found none."),
    ("After gating", "a slice that the gate skips counts as an empty mask."),
    ("Volume", "all slices of a patient together; of the positive ones for the segmenter alone."),
    ("HD95", "the larger of the two directed 95th percentiles of the distances between the masks'"
     " outlines, in the plane, in pixels: the dataset does not give their size. A slice without a"
     " mask is infinitely far: it is left out of the mean and counts as the farthest in the"
     " median, where a dash means that half of the slices or more have none."),
    ("Indeterminate", "the classifier is sure (probability at or above the decision threshold) and"
     " the segmenter outlines nothing."),
    ("Interval", "95 % percentile bootstrap over patients; a dash where it is not defined. Without"
     " width it means that these patients do not differ, not that others would not."),
)  # fmt: skip


def report_html(
    metrics: Metrics, plots: Mapping[str, bytes], pictures: Sequence[tuple[Shown, bytes]]
) -> bytes:
    """Write the page.

    Parameters
    ----------
    metrics
        Every figure.
    plots
        PNG by title.
    pictures
        Slices with both outlines, as PNG.

    Returns
    -------
    bytes
        UTF-8; all pictures are inside.
    """
    return "".join(_page(metrics, plots, pictures)).encode()


def _page(
    metrics: Metrics, plots: Mapping[str, bytes], pictures: Sequence[tuple[Shown, bytes]]
) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8><title>scanside evaluation</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    yield f"<h1>Evaluation of {escape(metrics.models.name)}</h1>"
    yield "<p class=note>Not a medical device; research use only.</p>"
    yield _subject(metrics)
    yield "".join(f"<p class=note>{escape(note)}</p>" for note in metrics.notes)
    yield "<h2>Figures</h2>"
    for title, rows in HEADLINES:
        yield f"<h3>{title}</h3><table><tr><th><th><th>95 % interval"
        yield "".join(_row(label, metrics.figures[name]) for name, label in rows)
        yield "</table>"
    yield "<h3>By lesion size</h3>" + _by_size(metrics)
    if metrics.robustness:
        yield "<h3>On changed slices</h3>" + _robustness(metrics)
    yield "<h2>Plots</h2><div class=plots>"
    for title, content in plots.items():
        yield f"<figure><figcaption>{escape(title)}</figcaption>{_image(content, title)}</figure>"
    yield "</div><h2>Slices</h2><p class=note>FLAIR; green: reference, orange: segmenter, without"
    yield " a gate. The best, median and worst positive slices by Dice, one a patient.</p>"
    yield from _pictures(pictures)
    yield "<h2>Patients</h2>" + _patients(metrics)
    yield "<h2>Terms</h2><dl>"
    yield "".join(f"<dt>{term}<dd>{meaning}" for term, meaning in _TERMS)
    yield "</dl>" + _origin(metrics) + "</html>\n"


def _subject(metrics: Metrics) -> str:
    subject, thresholds = metrics.subject, metrics.thresholds
    part = "all patients" if subject.part == "all" else f"the {subject.part} part"
    return (
        f"<p><b>{subject.patients:,} patients, {subject.slices:,} slices,"
        f" {subject.positive:,} positive</b>: {part} of the dataset"
        f" <code>{subject.dataset_sha256[:12]}</code>. {escape(metrics.models.precision)} on"
        f" {escape(metrics.models.backend)}; gate {thresholds.gate:.4g}, decision"
        f" {thresholds.decision:.4g}, mask {thresholds.mask:.4g} ({escape(thresholds.chosen)}).</p>"
    )


def _row(label: str, figure: Measurement) -> str:
    interval = "-"
    if figure.low is not None and figure.high is not None:
        interval = f"{_number(figure.low)} to {_number(figure.high)}"
    return f"<tr><td>{label}<td><b>{_number(figure.value)}</b><td class=ci>{interval}"


def _by_size(metrics: Metrics) -> str:
    columns = ("sensitivity_at_gate", "found", "indeterminate", "slice_dice")
    rows = []
    for size in SIZES:
        group = f"by_size.{size.label}"
        cells = "".join(f"<td>{_cell(metrics.figures[f'{group}.{name}'])}" for name in columns)
        count = metrics.figures[f"{group}.slices"].value or 0
        rows.append(f"<tr><td>{size.label} px<td>{count:.0f}{cells}")
    return (
        "<div class=wide><table><tr><th>Tumour in the slice<th>slices<th>pass the gate"
        "<th>with a region<th>indeterminate<th>Dice, without a gate"
        + "".join(rows)
        + "</table></div>"
    )


def _robustness(metrics: Metrics) -> str:
    table = {"as it is": metrics.figures, **metrics.robustness}
    head = "".join(f"<th>{label}" for label in ROBUST.values())
    rows = "".join(
        f"<tr><td>{escape(name)}" + "".join(f"<td>{_cell(figures[each])}" for each in ROBUST)
        for name, figures in table.items()
    )
    return f"<div class=wide><table><tr><th>Change{head}{rows}</table></div>"


def _cell(figure: Measurement) -> str:
    if figure.low is None or figure.high is None:
        return _number(figure.value)
    interval = f"{_number(figure.low)} to {_number(figure.high)}"
    return f"{_number(figure.value)} <span class=ci>({interval})</span>"


def _pictures(pictures: Sequence[tuple[Shown, bytes]]) -> Iterator[str]:
    for group in dict.fromkeys(shown.group for shown, _ in pictures):
        yield f"<h3>{group.capitalize()}</h3><div class=tiles>"
        for shown, content in pictures:
            if shown.group == group:
                name = f"{shown.item.patient} slice {shown.item.number}"
                yield f"<figure>{_image(content, name)}<figcaption>{escape(name)}<br>"
                yield f"Dice {shown.dice:.3f}, {shown.item.tumor_px:,} px,"
                yield f" probability {shown.probability:.3f}</figcaption></figure>"
        yield "</div>"


def _patients(metrics: Metrics) -> str:
    head = (
        "<th>Patient<th>slices<th>positive<th>skipped<th>with a region<th>missed"
        "<th>indeterminate<th>false region<th>volume Dice<th>Dice, positive<br>slices alone"
        "<th>HD95, median,<br>pixels"
    )
    rows = "".join(
        f"<tr><td>{escape(row.patient)}<td>{row.slices}<td>{row.positive}<td>{row.skipped}"
        f"<td>{row.found}<td>{row.missed}<td>{row.indeterminate}<td>{row.false_region}"
        f"<td>{row.volume_dice:.3f}<td>{_number(row.segmenter_volume_dice)}"
        f"<td>{_number(row.slice_hd95_median_px)}"
        for row in sorted(metrics.patients, key=lambda row: row.volume_dice)
    )
    return f"<div class=wide><table><tr>{head}{rows}</table></div>"


def _origin(metrics: Metrics) -> str:
    models = metrics.models
    hashes = ", ".join(f"{name} <code>{value}</code>" for name, value in models.sha256.items())
    versions = ", ".join(
        f"{name} {v}" for name, v in {**metrics.versions, **models.versions}.items()
    )
    lines = [f"Models: {hashes}. Versions and devices: {escape(versions)}."]
    if models.license is not None:
        lines.append(
            f"Licence of the weights: {escape(models.license)}."
            f" {escape(models.license_notice or '')}"
        )
    return "<h2>Origin</h2>" + "".join(f"<p class=note>{line}</p>" for line in lines)


def _image(content: bytes, text: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{escape(text, quote=True)}" src="data:image/png;base64,{data}">'


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004 - three digits
