"""The two decisions of the pipeline: which slices are segmented, and what a slice means.

Every comparison is written so that NaN cannot fall on the harmless side: ``nan >= t`` is
False, and a slice whose probability is NaN must not become a negative one.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scanside.contract import Thresholds
    from scanside.records import Status

__all__ = ["Decision", "Route", "decide", "route"]


class Route(Enum):
    """Where a classified slice goes."""

    SKIP = "skip"
    SEGMENT = "segment"
    INDETERMINATE = "indeterminate"


class Decision(NamedTuple):
    """What a slice means.

    Attributes
    ----------
    status
        ``ok`` or ``indeterminate``.
    tumor
        Whether the algorithm found a region; none where indeterminate.
    reason
        Why the slice is indeterminate.
    """

    status: Status
    tumor: bool | None
    reason: str | None = None


def is_probability(value: float) -> bool:
    """Tell whether a value is a finite number from 0 to 1."""
    return math.isfinite(value) and 0.0 <= value <= 1.0


def route(probability: float, thresholds: Thresholds) -> Route:
    """Say where a slice goes after the classifier.

    Parameters
    ----------
    probability
        The classifier's `tumor_probability`.
    thresholds
        The bundle's thresholds.

    Returns
    -------
    Route
        `SEGMENT` for ``probability >= gate``, `SKIP` below it, `INDETERMINATE` for anything
        that is no probability.
    """
    if not is_probability(probability):
        return Route.INDETERMINATE
    return Route.SEGMENT if probability >= thresholds.gate else Route.SKIP


def decide(probability: float, thresholds: Thresholds, mask_area: int | None) -> Decision:
    """Say what a slice means once its route has been taken.

    Parameters
    ----------
    probability
        The classifier's `tumor_probability`.
    thresholds
        The bundle's thresholds.
    mask_area
        Area of the mask in pixels of the source grid; none where the segmenter was skipped, -1
        where its output was not finite.

    Returns
    -------
    Decision
        Skipped: no region. Mask not empty: a region. Mask empty: no region, unless the
        classifier was sure (``probability >= decision``). Anything not finite: indeterminate.
    """
    if not is_probability(probability):
        return Decision(
            "indeterminate", None, f"the classifier's output is {probability}, not a probability"
        )
    if mask_area is None:
        return Decision("ok", tumor=False)
    if mask_area < 0:
        return Decision("indeterminate", None, "the segmenter's output is not finite")
    if mask_area > 0:
        return Decision("ok", tumor=True)
    if probability >= thresholds.decision:
        return Decision(
            "indeterminate",
            None,
            f"the classifier gives {probability:.3f} (decision {thresholds.decision:.3f}) and the"
            " segmenter outlines nothing",
        )
    return Decision("ok", tumor=False)
