"""Medians, percentiles and ratios with their spread: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Spread", "best", "percentile", "ratios", "spread"]


class Spread(NamedTuple):
    """Rounds of one figure.

    Attributes
    ----------
    median, low, high
        Median, smallest and largest.
    """

    median: float
    low: float
    high: float

    def shown(self, digits: int = 2) -> str:
        """Return ``median (low to high)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Return median, smallest and largest.

    Parameters
    ----------
    values
        At least one.

    Raises
    ------
    ValueError
        If there is none, or one is not finite.
    """
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"no spread of {list(values)}: at least one finite value is needed")
    return Spread(float(np.median(array)), float(array.min()), float(array.max()))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of a ratio, taken within each round.

    Neighbours in time see the same machine: a slow minute slows both and leaves their ratio.

    Parameters
    ----------
    above, below
        A figure of each round, in the same order; none of `below` is 0.

    Raises
    ------
    ValueError
        If there are not equally many.
    """
    if len(above) != len(below):
        raise ValueError(f"{len(above)} rounds against {len(below)}: a ratio is within a round")
    return spread([float(one) / float(other) for one, other in zip(above, below, strict=True)])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: a value that occurred (Hyndman, Fan 1996, 1)."""
    return float(np.percentile(np.asarray(values, np.float64), percent, method="inverted_cdf"))


def best(rounds: dict[str, Sequence[float]]) -> str:
    """Return the name whose median over its rounds is largest."""
    return max(rounds, key=lambda name: float(np.median(rounds[name])))
