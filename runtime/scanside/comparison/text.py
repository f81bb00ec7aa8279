"""A comparison in words: rows of a name and what was found, for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside.comparison.labelled import FIGURES
from scanside.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.comparison.records import Change, ComparisonResult, Interval, Side

__all__ = ["changes", "figures", "findings", "name_of", "thresholds", "to_text"]

_LISTED = 20
"""Slices of a kind that the terminal lists; all are in the records and on the page."""


def thresholds(result: ComparisonResult) -> str:
    """Say with which thresholds the sides decide."""
    if not result.thresholds_differ:
        return f"the same thresholds on both sides: {_thresholds(result.a)}"
    return (
        f"THE THRESHOLDS DIFFER, each side decides with its own: A {_thresholds(result.a)};"
        f" B {_thresholds(result.b)}"
    )


def findings(result: ComparisonResult) -> Iterator[tuple[str, str]]:
    """Yield each figure that needs no truth: its name and what was found."""
    probability, masks, area = result.tumor_probability, result.mask_dice, result.area
    yield (
        "tumor_probability, |B - A|",
        f"max {_six(probability.largest)}, mean {_six(probability.mean)},"
        f" 99th percentile {_six(probability.p99)} ({probability.slices:,} slices)",
    )
    yield (
        "mask Dice, A against B",
        f"mean {_four(masks.mean)}, 5th percentile {_four(masks.p5)}, worst {_four(masks.worst)}"
        f" ({masks.slices:,} slices with {masks.min_px} px or more on either side)",
    )
    areas = (
        f"mean {_px(area.mean_px)}, mean absolute {_px(area.mean_absolute_px, sign=False)},"
        f" largest {_px(area.largest_px, sign=False)} ({area.slices:,} slices)"
    )
    if area.largest_mm2 is not None:
        areas += f"; {area.mean_mm2:+.1f}, {area.mean_absolute_mm2:.1f}, {area.largest_mm2:.1f} mm2"
    yield "mask area, B - A", areas
    for name, found in (("A", result.a_non_finite), ("B", result.b_non_finite)):
        yield (
            f"outputs of {name} not finite",
            f"tumor_probability of {found.tumor_probability}, mask of {found.mask_probability}",
        )


def changes(result: ComparisonResult) -> Iterator[tuple[str, list[Change]]]:
    """Yield each kind of change and its slices."""
    yield "gate flips", result.gate_flips
    yield "decision flips", result.decision_flips
    yield "status changes", result.status_changes


def figures(result: ComparisonResult) -> Iterator[tuple[str, str, str, str]]:
    """Yield each figure against the truth in words: its name, A, B, and ``B - A``."""
    if result.labels is None:
        return
    for name, figure in result.labels.figures.items():
        yield (
            FIGURES[name],
            _interval(figure.a),
            _interval(figure.b),
            _interval(figure.difference, sign="+"),
        )


def name_of(source: str, index: int) -> str:
    """Return a slice's name."""
    return source + (f" #{index}" if index else "")


def to_text(result: ComparisonResult) -> str:
    """Return the comparison as text for a terminal."""
    return "\n".join(map(plain, _lines(result))) + "\n"


def _lines(result: ComparisonResult) -> Iterator[str]:
    data = result.data
    yield f"A  {result.a.label}"
    yield f"B  {result.b.label}"
    yield thresholds(result)
    yield ""
    kind = "plain slices" if result.labels is None else "labelled slices"
    yield f"{data.folder}: {data.compared:,} {kind} compared, {data.rejected:,} rejected"
    for reason, number in data.left_out.items():
        yield f"left out: {number:,} {reason}"
    for name, found in findings(result):
        yield f"{name:<28} {found}"
    for name, found_slices in changes(result):
        yield f"{name:<28} {len(found_slices)}"
        for change in found_slices[:_LISTED]:
            yield (
                f"  {name_of(change.source, change.index).removeprefix(data.folder + '/')}:"
                f" A {_three(change.a_probability)} {change.a},"
                f" B {_three(change.b_probability)} {change.b}"
            )
        if found_slices[_LISTED:]:
            yield f"  and {len(found_slices) - _LISTED} more: see the records"
    if result.labels is not None:
        yield from _labels(result)
    for limit in result.limits:
        verdict = "ok  " if limit.passed else "FAIL"
        yield f"{verdict} {limit.name}: {limit.found}; wanted {limit.wanted}"


def _labels(result: ComparisonResult) -> Iterator[str]:
    labels = result.labels
    if labels is None:
        return
    yield ""
    left_out = f", {labels.left_out} left out (not finite)" if labels.left_out else ""
    yield (
        f"against the truth: {labels.patients} patients, {labels.slices:,} slices,"
        f" {labels.positive:,} with tumour{left_out}; 95 % intervals over patients, paired"
    )
    yield f"{'':<46} {'A':<25} {'B':<25} B - A"
    for name, one, other, difference in figures(result):
        yield f"{name:<46} {one:<25} {other:<25} {difference}"


def _thresholds(side: Side) -> str:
    return f"gate {side.gate:.4g}, decision {side.decision:.4g}, mask {side.mask:.4g}"


def _interval(interval: Interval, sign: str = "") -> str:
    if interval.value is None:
        return "not defined"
    value = f"{interval.value:{sign}.4f}"
    if interval.low is None or interval.high is None:
        return value
    return f"{value} ({interval.low:{sign}.4f} to {interval.high:{sign}.4f})"


def _six(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _three(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f}"


def _px(value: float | None, *, sign: bool = True) -> str:
    if value is None:
        return "-"
    number = f"{value:,}" if isinstance(value, int) else f"{value:{'+' if sign else ''},.1f}"
    return f"{number} px"
