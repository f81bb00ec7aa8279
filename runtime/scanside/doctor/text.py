"""The report as text for a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Final

from scanside.backends import ON_CPU
from scanside.doctor.findings import STATES

if TYPE_CHECKING:
    from scanside.doctor.findings import Finding, Report

__all__ = ["conclusion", "report_lines"]

_MARKS: Final = {"ok": "ok", "missing": "MISSING", "problem": "PROBLEM", "absent-by-design": "-"}
_MARK, _NAME = 8, 18
_WIDTH: Final = 100


def report_lines(report: Report) -> list[str]:
    """Return the report as lines: a finding each, its remedy below it after an arrow."""
    counts = Counter(finding.state for finding in report.findings)
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    lines = [report.machine, ""]
    for finding in report.findings:
        lines += _lines(finding)
    return [*lines, "", f"{told} (-: absent, and nothing here needs it)", conclusion(report)]


def conclusion(report: Report) -> str:
    """Return in a sentence what the exit code says."""
    # Of those on a GPU auto takes the first; of those on the CPU the faster.
    on_gpu = [name for name in report.usable if name not in ON_CPU]
    taken = on_gpu[:1] or report.usable
    said = {
        0: f"scanside runs here: --backend auto takes {' or '.join(taken)}",
        4: "the default bundle is damaged",
        8: "scanside can't run here with --backend auto: see what is MISSING or a PROBLEM",
    }
    if report.exit_code and report.usable:
        return f"{said[report.exit_code]}; usable by name: {', '.join(report.usable)}"
    return said[report.exit_code]


def _lines(finding: Finding) -> list[str]:
    indent = " " * (_MARK + _NAME)
    head = f"{_MARKS[finding.state]:<{_MARK}}{finding.name:<{_NAME - 1}} "
    lines = textwrap.wrap(
        finding.found,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    # Never wrapped: it is there to be copied.
    return [*lines, f"{indent}-> {finding.remedy}"] if finding.remedy else lines
