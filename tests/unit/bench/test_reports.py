"""Text, CSV and HTML of a result."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scanside.bench.compare import compare
from scanside.bench.page import html_page
from scanside.bench.schema import Verdict
from scanside.bench.svg import Series, bars, plot, ticks
from scanside.bench.tables import comparison_lines, csv_table, result_lines

if TYPE_CHECKING:
    from scanside.bench.schema import BenchResult

INVALID = Verdict(valid=False, reasons=("throttled <b>",), notes=("a note",))


def test_the_table_has_each_class_and_what_is_beyond_the_backend(result: BenchResult) -> None:
    lines = list(result_lines(result))
    assert [line.split()[0] for line in lines if re.match(r"(mix|negative|positive) ", line)] == [
        "mix",
        "negative",
        "positive",
    ]
    beyond = [line.split() for line in lines if "beyond backend" in line]
    assert [words[-5] for words in beyond] == ["0.500"] * 3
    assert lines[-1] == "VALID"


def test_reasons_and_notes_are_said(result: BenchResult) -> None:
    text = "\n".join(result_lines(msgspec.structs.replace(result, verdict=INVALID)))
    assert "INVALID     throttled <b>" in text
    assert "a note" in text


def test_figures_of_a_class_are_those_of_its_samples(result: BenchResult) -> None:
    latency = np.array(result.samples.latency)[::3]
    held = result.groups["positive"]
    assert held.latency.count == 30
    assert held.latency.mean == pytest.approx(latency.mean(), abs=1e-3)
    assert held.latency.max == latency.max()
    assert held.slices_per_second == pytest.approx(1e3 / latency.mean(), abs=1e-2)
    assert "segment" not in result.groups["negative"].stages
    assert result.groups["mix"].slices_per_second == 90


def test_csv_has_a_row_for_each_class_and_stage(result: BenchResult) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(result).decode())))
    assert [(row["class"], row["stage"]) for row in rows] == [
        (name, stage)
        for name in ("mix", "negative", "positive")
        for stage in ("latency", "classify", "segment", "beyond_backend_calls")
        if (name, stage) != ("negative", "segment")
    ]
    assert float(rows[0]["median_ms"]) == result.groups["mix"].latency.median
    assert {row["valid"] for row in rows} == {"true"}


def test_the_page_needs_no_network_and_escapes_what_it_shows(result: BenchResult) -> None:
    page = html_page(msgspec.structs.replace(result, verdict=INVALID)).decode()
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)
    assert "throttled &lt;b&gt;" in page
    assert "&lt;c&amp;pu&gt;" in page
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 3
    for drawing in drawings:
        ET.fromstring(drawing)  # noqa: S314 - written above
    assert drawings[0].count("<circle") == 90


def test_a_compared_page_shows_the_ratio_and_both_series(result: BenchResult) -> None:
    comparison = compare(result, result, Path("old<.json"))
    page = html_page(result, result, comparison).decode()
    assert "1.000 to" in page or "<td>1.000<td>" in page
    assert "old&lt;.json" in page
    assert page.count("<polyline") == 4
    assert page.count("stroke-dasharray") == 2
    assert any("no difference shown" in line for line in comparison_lines(comparison))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 10))
def test_ticks_are_evenly_spaced_inside_the_axis(low: float, span: float, wanted: int) -> None:
    high = low + span
    assume(span > abs(low) * 1e-6)
    found = ticks(low, high, wanted)
    assert 1 <= len(found) <= wanted + 1
    slack = span * 1e-6
    assert low - slack <= found[0]
    assert found[-1] <= high + slack
    if len(found) > 2:
        assert np.ptp(np.diff(found)) < slack


def test_dots_beyond_the_axis_are_drawn_at_its_edge() -> None:
    drawn = plot([Series("a", "red", [1, 2], [1, 99])], ("x", "y"), x_range=(0, 2), y_range=(0, 10))
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert heights[1] == 30.0
    assert 30 < heights[0] < 300


def test_bars_are_as_long_as_their_parts() -> None:
    drawn = bars([("a", [1.0, 3.0]), ("b", [2.0, 0.0])], [("x", "red"), ("y", "blue")])
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="24"', drawn)]
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.2)
    assert widths[2] == pytest.approx(2 * widths[0], abs=0.2)
    assert widths[3] == 0
