"""A result as text for people and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from scanside.bench.layers import layer_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.bench.compare import Comparison
    from scanside.bench.schema import BenchResult, Group, Summary

__all__ = ["comparison_lines", "csv_table", "result_lines", "rows"]

_NAME = 24


def rows(group: Group) -> Iterator[tuple[str, Summary]]:
    """Yield the lines of a group's table: latency, its stages, and what is beyond the backend."""
    yield "latency", group.latency
    yield from group.stages.items()
    if group.beyond_backend is not None:
        yield "beyond backend calls", group.beyond_backend


def result_lines(result: BenchResult) -> Iterator[str]:
    """Yield the lines of a short readable report."""
    settings, bundle, load = result.settings, result.bundle, result.workload
    yield (
        f"{bundle.name} {bundle.version} {result.precision} on {result.backend},"
        f" {settings.scenario}: {result.environment.cpu},"
        f" {result.environment.usable_cores} cores"
    )
    asked = "" if settings.positive_rate is None else f" ({settings.positive_rate:g} asked for)"
    yield (
        f"{sum(result.samples.slices):,} slices in {result.seconds:.1f} s, positive rate"
        f" {load.achieved_positive_rate:.3f}{asked}; {load.slices} distinct,"
        f" {load.positive} positive, from {load.source}"
    )
    yield ""
    names = [f"p{percent:g}" for percent in settings.percentiles]
    titles = ("min", "mean", "median", *names, "max")
    head = "".join(f"{t:>9}" for t in titles)
    yield f"{'milliseconds':<{_NAME}}{'count':>7}{head}   slices/s"
    for name, group in result.groups.items():
        for row, summary in rows(group):
            title = name if row == "latency" else f"  {row}"
            speed = group.slices_per_second if row == "latency" else None
            yield _line(title, summary) + ("" if speed is None else f"{speed:>11.2f}")
    yield ""
    yield from layer_lines(result.layers)
    yield from _facts(result)
    yield from verdict_lines(result)


def _line(title: str, summary: Summary) -> str:
    figures = (
        summary.min,
        summary.mean,
        summary.median,
        *summary.percentiles.values(),
        summary.max,
    )
    return f"{title:<{_NAME}}{summary.count:>7}" + "".join(f"{f:>9.3f}" for f in figures)


def _facts(result: BenchResult) -> Iterator[str]:
    start, memory = result.start, result.memory
    positive = start.first_positive_ms
    segmented = "" if positive is None else f", first positive {positive:.1f}"
    yield (
        f"start       open bundle {start.open_bundle_ms:.1f} ms, load {start.load_ms:.1f},"
        f" first result {start.first_result_ms:.1f}{segmented}"
    )
    yield (
        f"peak memory {memory.tree_bytes / 1e6:.1f} MB: this process"
        f" {memory.self_bytes / 1e6:.1f} (slices {result.workload.held_bytes / 1e6:.1f}),"
        f" children {memory.children_bytes / 1e6:.1f}"
    )
    if result.loadgen is not None:
        yield f"LoadGen     {result.loadgen.result}, version {result.loadgen.version}"
        met = (f"{k}: {'yes' if v else 'NO'}" for k, v in result.loadgen.constraints.items())
        yield f"            {'; '.join(met)}"
        if result.loadgen.early_stopping:
            yield f"            {result.loadgen.early_stopping}"


def verdict_lines(result: BenchResult) -> Iterator[str]:
    """Yield the verdict with its reasons, and the notes."""
    for note in result.verdict.notes:
        yield f"note        {note}"
    if result.verdict.valid:
        yield "VALID"
    for number, reason in enumerate(result.verdict.reasons):
        yield f"{'' if number else 'INVALID':<12}{reason}"


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a comparison."""
    yield f"compared with {comparison.old} (new over old, 95 % interval; below 1 is faster)"
    for row in comparison.rows:
        title = f"  {row.name} {row.statistic}"
        yield (
            f"{title:<{_NAME}}{row.old:>9.3f} -> {row.new:.3f} ms: {row.ratio.value:.3f}"
            f" ({row.ratio.low:.3f} to {row.ratio.high:.3f}), {comparison.verdict(row)}"
        )
    if not comparison.rows:
        yield "  nothing to compare: no class has two samples in both"
    for difference in comparison.differences:
        yield f"  differs: {difference}"


def csv_table(result: BenchResult) -> bytes:
    """Return one row a class and stage, with what identifies the measurement on every row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    percentiles = [f"p{percent:g}_ms" for percent in result.settings.percentiles]
    writer.writerow(
        ["created", "scenario", "bundle", "manifest_sha256", "backend", "precision", "valid",
         "positive_rate", "class", "stage", "count", "min_ms", "mean_ms", "median_ms",
         *percentiles, "max_ms", "cv", "slices_per_second"]
    )  # fmt: skip
    bundle = result.bundle
    common = [
        result.created,
        result.settings.scenario,
        f"{bundle.name} {bundle.version}",
        bundle.manifest_sha256,
        result.backend,
        result.precision,
        str(result.verdict.valid).lower(),
        round(result.workload.achieved_positive_rate, 6),
    ]
    for name, group in result.groups.items():
        for row, held in rows(group):
            speed = group.slices_per_second if row == "latency" else None
            writer.writerow(
                [*common, name, row.replace(" ", "_"), held.count, held.min, held.mean,
                 held.median, *held.percentiles.values(), held.max, held.cv, speed]
            )  # fmt: skip
    return text.getvalue().encode()
