"""What MLPerf LoadGen wrote, read as it is: its verdict is never made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from scanside.bench.schema import LoadGenReport
from scanside.errors import BenchmarkInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DETAIL", "SUMMARY", "read_report"]

DETAIL: Final = "mlperf_log_detail.txt"
SUMMARY: Final = "mlperf_log_summary.txt"

_PREFIX: Final = ":::MLLOG "
_EFFECTIVE: Final = "effective_"
_CONSTRAINTS: Final = {
    "result_perf_constraints_met": "performance constraints satisfied",
    "result_min_duration_met": "min duration satisfied",
    "result_min_queries_met": "min queries satisfied",
    "early_stopping_met": "early stopping satisfied",
}
"""Keys of the detailed log, and what the summary calls them."""


class _Line(msgspec.Struct):
    """One line of the detailed log; it has more fields than are needed here."""

    key: str
    value: Any
    metadata: dict[str, Any]


def read_report(folder: Path) -> LoadGenReport:
    """Read LoadGen's logs.

    Parameters
    ----------
    folder
        The folder that LoadGen wrote to.

    Raises
    ------
    BenchmarkInvalidError
        If the logs hold no verdict.
    """
    try:
        detail = (folder / DETAIL).read_text(encoding="utf-8", errors="replace")
        summary = (folder / SUMMARY).read_text(encoding="utf-8", errors="replace")
        lines = list(_lines(detail))
    except (OSError, msgspec.DecodeError) as error:
        raise _without(folder, str(error)) from error
    values = {line.key: line.value for line in lines}
    verdict: Literal["VALID", "INVALID"] | None = values.get("result_validity")
    if verdict not in {"VALID", "INVALID"}:
        raise _without(folder, f"result_validity is {verdict}")
    return LoadGenReport(
        version=str(values.get("loadgen_version", "")),
        result=verdict,
        constraints={name: values[key] for key, name in _CONSTRAINTS.items() if key in values},
        early_stopping=_text(values.get("early_stopping_result")),
        invalid_reason=_text(values.get("result_invalid_reason")),
        figures={
            key: float(value)
            for key, value in values.items()
            if key.startswith(("result_", "early_stop_latency"))
            and isinstance(value, int | float)
            and not isinstance(value, bool)
        },
        settings={
            key.removeprefix(_EFFECTIVE): str(value)
            for key, value in values.items()
            if key.startswith(_EFFECTIVE)
        },
        errors=tuple(_text(line.value) for line in lines if line.metadata.get("is_error")),
        warnings=tuple(_text(line.value) for line in lines if line.metadata.get("is_warning")),
        summary=summary,
    )


def _lines(detail: str) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    for line in detail.splitlines():
        if line.startswith(_PREFIX):
            yield decoder.decode(line.removeprefix(_PREFIX))


def _text(value: object) -> str:
    return " ".join(str(value if value is not None else "").split())


def _without(folder: Path, what: str) -> BenchmarkInvalidError:
    return BenchmarkInvalidError(
        f"LoadGen's logs in {folder} hold no verdict: {what}",
        remedy="measure again with --output FOLDER and look at the logs",
    )
