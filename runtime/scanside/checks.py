"""What a verification found: ``scanside verify --json``."""

from __future__ import annotations

from typing import Final, Literal

from scanside.fields import Part

__all__ = ["VERIFICATION_SCHEMA", "Check", "Verification"]

VERIFICATION_SCHEMA: Final = "scanside.verification/1"


class Check(Part, frozen=True):
    """One thing that was compared.

    Attributes
    ----------
    name
        What was compared.
    passed
        Whether it is as it should be.
    found, wanted
        The figure and its limit, in words.
    """

    name: str
    passed: bool
    found: str
    wanted: str


class Verification(Part, frozen=True, kw_only=True):
    """``scanside verify --json``.

    Attributes
    ----------
    bundle
        What was verified: the bundle, the precision and the backend.
    fallback
        What ``auto`` could not use and why, if anything.
    passed
        Whether every check passed.
    checks
        In the order in which a slice meets them.
    """

    schema: Literal["scanside.verification/1"] = VERIFICATION_SCHEMA
    bundle: str
    fallback: str | None
    passed: bool
    checks: tuple[Check, ...]
