"""What ``scanside doctor`` reports: ``scanside.doctor/1`` as structures that refuse else."""

from __future__ import annotations

from typing import Final, Literal

from scanside.fields import Part

__all__ = ["DOCTOR_SCHEMA", "STATES", "Finding", "Report", "State"]

DOCTOR_SCHEMA: Final = "scanside.doctor/1"

State = Literal["ok", "missing", "problem", "absent-by-design"]
STATES: Final[tuple[State, ...]] = ("ok", "missing", "problem", "absent-by-design")


class Finding(Part, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes
    ----------
    name
        What was looked at, for instance ``onnxruntime``.
    state
        ``ok``; ``missing``: not here, and this machine would use it; ``problem``: here, and
        broken or set so that it stands in the way; ``absent-by-design``: not here, and nothing
        on this machine needs it.
    found
        What was found, with versions, sizes and errors.
    remedy
        The command that mends it, or what to do; empty where there is nothing to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


class Report(Part, frozen=True, kw_only=True):
    """All findings, and what follows from them.

    Attributes
    ----------
    machine
        What kind of machine this is, in words.
    usable
        The backends of ``--backend auto`` that computed a slice here, the one to start with first.
    exit_code
        0: scanside runs here with its default backend and bundle; 8: no backend can be used;
        4: the default bundle is damaged.
    findings
        In the order in which they are shown.
    """

    machine: str
    usable: tuple[str, ...]
    exit_code: int
    findings: tuple[Finding, ...]
    schema: Literal["scanside.doctor/1"] = DOCTOR_SCHEMA
