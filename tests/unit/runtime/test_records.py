from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, BinaryIO

import pytest

from scanside.errors import OutputError
from scanside.records import BoundingBox, RunResult, SliceResult, StudyResult
from scanside.writers.records import FORMATS, record_writer

if TYPE_CHECKING:
    from scanside.records import Record

FOUND = SliceResult(
    source="p/1.png", index=0, status="ok", tumor_probability=0.91, tumor=True, segmented=True,
    area_px=1532, area_mm2=900.4, components=1, box=BoundingBox(top=1, left=2, bottom=3, right=4),
    mask="masks/1_mask.png", overlay="overlays/1_overlay.png", backend="cpu", precision="fp32",
    timings_ms={"decode": 1.0, "classify": 2.0},
)  # fmt: skip
REJECTED = SliceResult(source='p/"odd", name.png', index=0, status="rejected", reason="empty")
STUDY = StudyResult(
    source="p", slices=2, positive=1, indeterminate=0, rejected=1, segmented=1, area_px=1532
)
RUN = RunResult(
    slices=2, positive=1, negative=0, indeterminate=0, rejected=1, segmented=1, skip_rate=0.0,
    indeterminate_rate=0.0, left_out={"masks": 3}, seconds=1.0, slices_per_second=2.0,
    interrupted=False, bundle="toy 1", bundle_sha256="0" * 64, backend="cpu", precision="fp32",
)  # fmt: skip
RECORDS: list[Record] = [FOUND, REJECTED, STUDY, RUN]


def written(kind: str, *, slices: int = 2) -> str:
    stream = io.BytesIO()
    writer = record_writer(kind, stream, name="out", slices=slices)
    for record in RECORDS:
        writer.write(record)
    return stream.getvalue().decode()


def test_json_lines_say_schema_and_type() -> None:
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert [line["type"] for line in lines] == ["slice", "slice", "study", "run"]
    assert {line["schema"] for line in lines} == {"scanside.result/1"}
    assert lines[0]["box"] == {"top": 1, "left": 2, "bottom": 3, "right": 4}
    assert lines[1]["tumor"] is None


def test_csv_has_a_row_a_slice_whatever_the_names_hold() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    assert [row["source"] for row in rows] == ["p/1.png", 'p/"odd", name.png']
    assert (rows[0]["tumor"], rows[0]["box_right"], rows[0]["classify_ms"]) == ("true", "4", "2.0")
    assert (rows[1]["tumor"], rows[1]["box_top"], rows[1]["reason"]) == ("", "", "empty")


def test_the_table_says_what_was_found_and_never_no_tumour() -> None:
    table = written("text")
    assert "region of 1,532 px" in table
    assert "rejected: empty" in table
    assert "left out: 3 masks" in table
    assert "tumor" not in table.lower().replace("tumour", "tumor")


def test_many_slices_are_summed_up_by_study() -> None:
    table = written("text", slices=5000)
    assert "p/1.png" not in table
    assert "study" in table


@pytest.mark.parametrize("kind", FORMATS)
def test_a_stream_that_is_full_is_an_output_error(kind: str) -> None:
    stream: BinaryIO
    with open("/dev/full", "wb", buffering=0) as stream, pytest.raises(OutputError, match="space"):  # noqa: PTH123
        record_writer(kind, stream, name="standard output").write(FOUND)
