"""The state of a node as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside.plain import plain

if TYPE_CHECKING:
    from scanside.listen.status import SpoolStatus

__all__ = ["status_text"]


def status_text(status: SpoolStatus) -> str:
    """Return the state in some lines.

    Parameters
    ----------
    status
        From `scanside.listen.status.read_status`.
    """
    lines = [
        "studies       " + _counts(status.studies),
        "results       " + (_counts(status.results) or "none")
        + (f", {status.superseded} superseded" if status.superseded else ""),
        *(
            [f"first result  {status.first_result_seconds:,.1f} s after a study's last object"]
            if status.first_result_seconds is not None
            else []
        ),
        f"spool         {status.instances:,} objects, {status.aside:,} set aside,"
        f" {status.bytes / 1e6:,.1f} MB",
    ]  # fmt: skip
    for name, found in status.destinations.items():
        line = f"{name:13s} {found.delivered:,} delivered, {found.pending:,} pending"
        if found.oldest_pending_seconds is not None:
            line += f" (the oldest for {found.oldest_pending_seconds:,.0f} s)"
        if found.dead:
            line += f", {found.dead:,} dead: scanside listen retry sends them again"
        if found.reason is not None:
            line += f"; last failure: {found.reason}"
        lines.append(line)
    lines += [f"failed        {study.study}: {study.reason}" for study in status.failed]
    lines.append("idle: nothing is left to do" if status.idle else "there is work to do")
    return "\n".join(map(plain, lines))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())
