"""Records as JSON lines, CSV or a table for people."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from scanside.plain import plain
from scanside.records import Record, RunResult, SliceResult, StudyResult, to_json_line
from scanside.writers.files import output_errors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMATS", "ROWS_SHOWN", "RecordWriter", "record_writer"]

FORMATS: Final = ("text", "jsonl", "csv")

_CSV_FIELDS: Final = (
    "source",
    "index",
    "status",
    "reason",
    "tumor_probability",
    "tumor",
    "segmented",
    "area_px",
    "area_mm2",
    "components",
    "box_top",
    "box_left",
    "box_bottom",
    "box_right",
    "filled",
    "mask",
    "overlay",
    "backend",
    "precision",
)
_STAGES: Final = ("decode", "preprocess", "classify", "segment", "postprocess")

ROWS_SHOWN: Final = 60
"""More slices than this are summed up by study: nobody reads a table of thousands of rows."""


class RecordWriter(Protocol):
    """Takes the records of a run one by one, as they come."""

    def write(self, record: Record) -> None:
        """Write one record; raises `OutputError` where that fails."""


def record_writer(
    kind: str, stream: BinaryIO, *, name: str, slices: int = 0, root: str = ""
) -> RecordWriter:
    """Return a writer of one format.

    Parameters
    ----------
    kind
        One of `FORMATS`.
    stream
        Where to write.
    name
        What to call the stream in an error.
    slices
        The number of slices that will come, as far as it is known.
    root
        What every source begins with: the table leaves it out.
    """
    makers: dict[str, Callable[[_Sink], RecordWriter]] = {
        "jsonl": _JsonLines,
        "csv": _Csv,
        "text": lambda sink: _Text(sink, root, each_slice=slices <= ROWS_SHOWN),
    }
    return makers[kind](_Sink(stream, name))


class _Sink:
    """A stream whose every write is flushed, so that an interrupted run keeps what was done."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def put(self, content: bytes) -> None:
        with output_errors(self._name):
            self._stream.write(content)
            self._stream.flush()


class _JsonLines:
    """One JSON object a line: slices, then studies, then the run."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def write(self, record: Record) -> None:
        self._sink.put(to_json_line(record))


class _Csv:
    """One row a slice (RFC 4180); studies and the run have other columns and are left out."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._row([*_CSV_FIELDS, *(f"{stage}_ms" for stage in _STAGES)])

    def write(self, record: Record) -> None:
        if not isinstance(record, SliceResult):
            return
        values = [_csv_value(record, field) for field in _CSV_FIELDS]
        self._row([*values, *(record.timings_ms.get(stage, "") for stage in _STAGES)])

    def _row(self, values: list[object]) -> None:
        buffer = io.StringIO()
        csv.writer(buffer).writerow(values)
        self._sink.put(buffer.getvalue().encode())


def _csv_value(record: SliceResult, field: str) -> object:
    if field.startswith("box_"):
        return "" if record.box is None else getattr(record.box, field.removeprefix("box_"))
    value = getattr(record, field)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return "+".join(value) if isinstance(value, tuple) else value


class _Text:
    """A table for people: a row a slice where they are few, a row a study, then the run."""

    def __init__(self, sink: _Sink, root: str, *, each_slice: bool) -> None:
        self._sink = sink
        self._root = root
        self._each_slice = each_slice
        self._rows_begun = self._studies_begun = False

    def write(self, record: Record) -> None:
        if isinstance(record, SliceResult):
            if self._each_slice or record.status != "ok":
                self._slice(record)
        elif isinstance(record, StudyResult):
            self._study(record)
        else:
            self._run(record)

    def _slice(self, record: SliceResult) -> None:
        if not self._rows_begun:
            self._rows_begun = True
            self._line(f"{'slice':<44} {'probability':>11} {'ms':>7}  finding")
        probability = "" if record.tumor_probability is None else f"{record.tumor_probability:.3f}"
        spent = f"{sum(record.timings_ms.values()):.1f}" if record.timings_ms else ""
        name = self._short(record.source) + (f" #{record.index}" if record.index else "")
        self._line(f"{_tail(name, 44):<44} {probability:>11} {spent:>7}  {_finding(record)}")

    def _study(self, record: StudyResult) -> None:
        if not self._studies_begun:
            self._studies_begun = True
            self._line("")
            self._line(
                f"{'study':<44} {'slices':>6} {'region':>6} {'indet.':>6} {'reject.':>7}"
                f" {'area px':>9} {'volume ml':>9}"
            )
        volume = "" if record.volume_ml is None else f"{record.volume_ml:.1f}"
        self._line(
            f"{_tail(self._short(record.source), 44):<44} {record.slices:>6} {record.positive:>6}"
            f" {record.indeterminate:>6} {record.rejected:>7} {record.area_px:>9,} {volume:>9}"
        )

    def _run(self, record: RunResult) -> None:
        speed = record.slices_per_second
        skipped = record.skip_rate
        self._line("")
        self._line(
            f"{record.slices:,} slices{' (interrupted)' if record.interrupted else ''}:"
            f" {record.positive:,} with a region, {record.negative:,} without,"
            f" {record.indeterminate:,} indeterminate, {record.rejected:,} rejected"
        )
        self._line(
            f"segmenter skipped {'-' if skipped is None else f'{skipped:.0%}'} of the slices;"
            f" {record.seconds:.1f} s{'' if speed is None else f', {speed:.1f} slices a second'};"
            f" {record.bundle} {record.precision} on {record.backend}"
        )
        for reason, number in record.left_out.items():
            self._line(f"left out: {number:,} {reason}")

    def _short(self, source: str) -> str:
        return source.removeprefix(self._root) or source

    def _line(self, text: str) -> None:
        self._sink.put(plain(text.rstrip()).encode() + b"\n")


def _finding(record: SliceResult) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    filled = f"; FLAIR stands in for {', '.join(record.filled)}" if record.filled else ""
    if not record.tumor:
        return f"no region found{filled}"
    area = f"{record.area_px:,} px"
    if record.area_mm2 is not None:
        area += f" = {record.area_mm2:,.0f} mm2"
    return f"region of {area}{filled}"


def _tail(text: str, width: int) -> str:
    return text if len(text) <= width else "..." + text[3 - width :]
