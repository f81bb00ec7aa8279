"""A result as one HTML page with plots, readable without a network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from scanside.bench.recorder import STAGES
from scanside.bench.statistics import percentile
from scanside.bench.summaries import members
from scanside.bench.svg import Series, bars, plot
from scanside.bench.tables import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.bench.compare import Comparison
    from scanside.bench.schema import BenchResult

__all__ = ["html_page"]

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}
body{color:#1c2733}h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
p.note{color:#5a6875}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .8rem .2rem 0;text-align:right;border-bottom:1px solid #e3e8ec}
td:first-child,th:first-child{text-align:left}table.facts td{text-align:left;vertical-align:top}
tr.head td{font-weight:600;padding-top:.6rem}td.part{padding-left:1rem}
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#41505e}
.invalid{color:#a33;font-weight:600}.valid{color:#27733d;font-weight:600}pre{overflow-x:auto}
"""

_COLOURS: Final = {"negative": "#3f7fb5", "positive": "#d1672f", "mix": "#6b7782"}
_STAGE_COLOURS: Final = dict(
    zip(STAGES, ("#b8a9d9", "#8fbf9f", "#3f7fb5", "#d1672f", "#e0b94f"), strict=True)
)
_REST: Final = ("rest", "#c9d0d6")
_HEADROOM: Final = 1.3
"""The vertical axis ends here over the 99th percentile: outliers are drawn at the edge, and do
not squeeze everything else to a line."""


def html_page(
    result: BenchResult, old: BenchResult | None = None, comparison: Comparison | None = None
) -> bytes:
    """Return the page.

    Parameters
    ----------
    result
        The result.
    old, comparison
        What it was compared with, and how; none if with nothing.
    """
    return "".join(_page(result, old, comparison)).encode()


def _page(
    result: BenchResult, old: BenchResult | None, comparison: Comparison | None
) -> Iterator[str]:
    settings, bundle, load = result.settings, result.bundle, result.workload
    yield "<!doctype html><html lang=en><meta charset=utf-8><title>scanside bench</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    yield f"<h1>{escape(bundle.name)} {escape(bundle.version)}, {settings.scenario}</h1>"
    yield (
        f"<p class=note>{result.precision} on {escape(result.backend)};"
        f" {escape(result.environment.cpu)}, {result.environment.usable_cores} cores;"
        f" {result.created}. Research use only: not a medical device.</p>"
    )
    yield from _verdict(result)
    yield (
        f"<p><b>{result.groups['mix'].slices_per_second:.2f} slices a second</b>:"
        f" {sum(result.samples.slices):,} slices in {result.seconds:.1f} s, positive rate"
        f" {load.achieved_positive_rate:.3f}, {load.slices} distinct slices"
        f" ({load.positive} positive) from {escape(load.source)}.</p>"
    )
    yield from _table(result)
    yield "<h2>Latency over time</h2>" + _over_time(result)
    yield "<h2>Share of samples within a latency</h2>" + _shares(result, old)
    if set(result.samples.slices) == {1}:
        yield "<h2>Where the time goes (mean)</h2>" + _stages(result)
    if comparison is not None:
        yield from _comparison(comparison)
    if result.loadgen is not None:
        yield f"<h2>MLPerf LoadGen's summary</h2><pre>{escape(result.loadgen.summary)}</pre>"
    yield from _facts(result)
    yield "</html>\n"


def _verdict(result: BenchResult) -> Iterator[str]:
    if result.verdict.valid:
        yield "<p class=valid>VALID</p>"
    else:
        reasons = "".join(f"<li>{escape(reason)}" for reason in result.verdict.reasons)
        yield f"<p class=invalid>INVALID: not to be quoted</p><ul>{reasons}</ul>"
    if result.verdict.notes:
        yield f"<p class=note>{escape('; '.join(result.verdict.notes))}</p>"


def _table(result: BenchResult) -> Iterator[str]:
    names = "".join(f"<th>p{percent:g}" for percent in result.settings.percentiles)
    yield (
        f"<table><tr><th>milliseconds<th>count<th>min<th>mean<th>median{names}<th>max"
        "<th>cv<th>slices/s"
    )
    for name, group in result.groups.items():
        for row, held in rows(group):
            head = row == "latency"
            figures = (held.min, held.mean, held.median, *held.percentiles.values(), held.max)
            speed = group.slices_per_second if head else None
            yield (
                f"<tr{' class=head' if head else ''}><td{'' if head else ' class=part'}>"
                f"{name if head else escape(row)}<td>{held.count}"
                + "".join(f"<td>{figure:.3f}" for figure in figures)
                + f"<td>{'' if held.cv is None else f'{held.cv:.3f}'}"
                + f"<td>{'' if speed is None else f'{speed:.2f}'}"
            )
    yield "</table>"


def _classes(result: BenchResult) -> list[str]:
    return [name for name in ("negative", "positive") if name in result.groups] or ["mix"]


def _over_time(result: BenchResult) -> str:
    """Draw every sample at the time at which its predecessors had been worked on."""
    latency = np.array(result.samples.latency)
    ends = np.linspace(0, result.seconds, len(latency))
    if result.settings.scenario not in {"server"}:
        ends = np.cumsum(latency) / max(latency.sum(), 1e-9) * result.seconds
    series = [
        Series(name, _COLOURS[name], ends[member].tolist(), latency[member].tolist())
        for name in _classes(result)
        for member in (members(result.samples, name),)
    ]
    return plot(
        series, ("seconds", "milliseconds"), x_range=(0, result.seconds), y_range=(0, _top(latency))
    )


def _shares(result: BenchResult, old: BenchResult | None) -> str:
    series = []
    drawn = [(result, False)] if old is None else [(old, True), (result, False)]
    for held, dashed in drawn:
        for name in _classes(held):
            values = np.sort(np.array(held.samples.latency)[members(held.samples, name)])
            shares = np.arange(1, len(values) + 1) / len(values)
            title = f"{name}, old" if dashed else name
            series.append(
                Series(title, _COLOURS[name], values.tolist(), shares.tolist(), True, dashed)  # noqa: FBT003 - a tuple's fields
            )
    top = max(_top(np.array(held.samples.latency)) for held, _ in drawn)
    return plot(series, ("milliseconds", "share"), x_range=(0, top), y_range=(0, 1))


def _top(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    return max(percentile(values, 99) * _HEADROOM, 1e-3)


def _stages(result: BenchResult) -> str:
    stages = [name for name in STAGES if name in result.samples.stages]
    drawn = []
    for name, group in result.groups.items():
        member = members(result.samples, name)
        means = [float(np.array(result.samples.stages[s])[member].mean()) for s in stages]
        rest = 0.0 if group.beyond_backend is None else group.latency.mean - sum(means)
        drawn.append((name, [*means, max(0.0, rest)]))
    return bars(drawn, [*((name, _STAGE_COLOURS[name]) for name in stages), _REST])


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield f"<h2>Compared with {escape(comparison.old)}</h2><p class=note>New over old; below 1"
    yield " is faster. The interval (95 %, block bootstrap) holds what varies within a"
    yield " measurement, not what varies between two starts.</p><table><tr><th>class<th>statistic"
    yield "<th>old ms<th>new ms<th>ratio<th>interval<th>"
    for row in comparison.rows:
        yield (
            f"<tr><td>{row.name}<td>{row.statistic}<td>{row.old:.3f}<td>{row.new:.3f}"
            f"<td>{row.ratio.value:.3f}<td>{row.ratio.low:.3f} to {row.ratio.high:.3f}"
            f"<td>{comparison.verdict(row)}"
        )
    yield "</table><ul>"
    yield from (f"<li>{escape(difference)}" for difference in comparison.differences)
    yield "</ul>"


def _facts(result: BenchResult) -> Iterator[str]:
    yield "<h2>Settings, start, memory, machine</h2><table class=facts>"
    for part in ("settings", "bundle", "workload", "start", "memory", "environment", "disturbance"):
        for name, value in msgspec.to_builtins(getattr(result, part)).items():
            yield f"<tr><td>{part}.{name}<td>{escape(_words(value))}"
    yield "</table>"


def _words(value: Any) -> str:  # noqa: ANN401 - any field
    if isinstance(value, dict):
        if "unit" in value:
            return f"{value['low']:g} to {value['high']:g} {value['unit']}"
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    if value is None:
        return "none"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
