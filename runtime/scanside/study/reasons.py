"""Why a file, a series or a study is not taken: each reason has a name that messages begin with."""

from __future__ import annotations

from typing import Literal

from scanside.errors import InputError

__all__ = ["Reason", "refused"]

Reason = Literal[
    "own result",
    "not an image",
    "secondary capture",
    "wrong modality",
    "wrong body part",
    "localizer",
    "excluded by the rules",
    "no rule takes it",
    "another series is preferred",
    "no geometry",
    "mixed orientations",
    "mixed matrices",
    "duplicate instances",
    "duplicate positions",
    "missing positions",
    "varying spacing",
    "slices off the normal",
    "slices too thick",
    "other frame of reference",
    "no overlap",
    "different patients",
    "different studies",
    "missing sequence",
    "ambiguous series",
    "pixel data",
    "unreadable files",
]


def refused(reason: Reason, what: str, *, accepted: str = "", remedy: str = "") -> InputError:
    """Return the error of a refusal; its text begins with the reason's name.

    Parameters
    ----------
    reason
        The reason.
    what
        What was found; no patient attribute.
    accepted, remedy
        As for `InputError`.
    """
    return InputError(f"{reason}: {what}", accepted=accepted, remedy=remedy)
