"""The statistics of a benchmark: pure functions on arrays of milliseconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "LEVEL",
    "PERCENTILE_METHOD",
    "RESAMPLES",
    "Ratio",
    "block_length",
    "coefficient_of_variation",
    "mean",
    "median",
    "normalised",
    "parse_percentiles",
    "percentile",
    "ratio_interval",
    "window_medians",
]

PERCENTILE_METHOD: Final = "inverted_cdf"
"""The nearest-rank percentile: the smallest sample that at least p % do not exceed.

It is a latency that occurred, never an average of two, as in trtexec and LoadGen; numpy calls it
so (Hyndman, Fan 1996, definition 1)."""

RESAMPLES: Final = 2000
"""Enough for the ends of a 95 % interval to two digits (Efron, Tibshirani 1993, section 14.5)."""

LEVEL: Final = 0.95


class Ratio(NamedTuple):
    """The ratio of a statistic, new to old, with its interval.

    Attributes
    ----------
    value
        New over old.
    low, high
        Ends of the percentile interval.
    """

    value: float
    low: float
    high: float


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """Return the nearest-rank percentile of samples.

    Parameters
    ----------
    values
        float64 ``[N]``, N at least 1.
    percent
        0 to 100.
    """
    return float(np.percentile(values, percent, method=PERCENTILE_METHOD))


def coefficient_of_variation(values: NDArray[np.float64]) -> float | None:
    """Return standard deviation (N - 1) over mean; none for fewer than two samples.

    Parameters
    ----------
    values
        float64 ``[N]``, of positive mean.
    """
    if len(values) < 2 or not values.mean() > 0:  # noqa: PLR2004 - one sample has no spread
        return None
    return float(values.std(ddof=1) / values.mean())


def normalised(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each sample by the median of its group.

    A slice that is segmented costs several times one that is not: without this, the mix would
    look unstable by itself.

    Parameters
    ----------
    values
        float64 ``[N]``, positive.
    groups
        int64 ``[N]``; samples of one number are alike by design.

    Returns
    -------
    ndarray of float64
        ``[N]``, around 1.
    """
    relative = np.empty_like(values)
    for group in np.unique(groups):
        member = groups == group
        relative[member] = values[member] / np.median(values[member])
    return relative


def window_medians(values: NDArray[np.float64], windows: int) -> NDArray[np.float64]:
    """Cut a series into windows of equal count, in order, and return the median of each.

    Parameters
    ----------
    values
        float64 ``[N]``, in the order of time, N at least `windows`.
    windows
        At least 1.

    Returns
    -------
    ndarray of float64
        ``[windows]``.
    """
    return np.array([np.median(part) for part in np.array_split(values, windows)])


def ratio_interval(
    new: NDArray[np.float64],
    old: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Ratio:
    """Return the ratio of a statistic of two series with its block-bootstrap interval.

    Neighbouring samples resemble each other (clocks, caches, other processes): drawing them
    one by one would give an interval that is too narrow. Blocks of neighbours are drawn
    instead, the series closed to a circle so that each sample is drawn equally often.

    Parameters
    ----------
    new, old
        float64 ``[N]`` and ``[M]``, in the order of time, two samples or more.
    statistic
        From samples to a positive figure, for instance the median.
    seed
        Of the draws.
    resamples
        How often both series are drawn.

    Raises
    ------
    UsageError
        If a series has fewer than two samples.

    References
    ----------
    Politis, Romano (1992): A circular block-resampling procedure for stationary data.
    Hall, Horowitz, Jing (1995): On blocking rules for the bootstrap with dependent data,
    Biometrika 82: block length of the order of N^(1/3).
    """
    if min(len(new), len(old)) < 2:  # noqa: PLR2004 - one sample has no spread
        raise UsageError(
            f"{len(new)} and {len(old)} samples to compare",
            accepted="2 or more each",
            remedy="measure longer: --duration, --iterations",
        )
    random = np.random.default_rng(seed)
    ratios = [
        statistic(_redrawn(new, random)) / statistic(_redrawn(old, random))
        for _ in range(resamples)
    ]
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(ratios, [tail, 100 - tail], method=PERCENTILE_METHOD)
    return Ratio(statistic(new) / statistic(old), float(low), float(high))


def block_length(count: int) -> int:
    """Return the number of neighbours that are drawn together: N^(1/3), rounded up."""
    return max(1, math.ceil(round(math.pow(count, 1 / 3), 9)))


def _redrawn(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    length = block_length(len(values))
    starts = random.integers(len(values), size=math.ceil(len(values) / length))
    places = (starts[:, None] + np.arange(length)).ravel()[: len(values)] % len(values)
    drawn: NDArray[np.float64] = values[places]
    return drawn


def parse_percentiles(text: str) -> tuple[float, ...]:
    """Parse ``90,95,99`` as trtexec's ``--percentile`` takes it.

    Raises
    ------
    UsageError
        If it is not a list of numbers from 0 to 100.
    """
    try:
        numbers = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 <= number <= 100 for number in numbers):  # noqa: PLR2004 - percent
        raise UsageError(
            f"--percentile {text!r}", accepted="numbers from 0 to 100, for instance 90,95,99"
        )
    return numbers


def median(values: NDArray[np.float64] | Sequence[float]) -> float:
    """Return the median; the mean of the two in the middle for an even count, as in trtexec."""
    return float(np.median(values))


def mean(values: NDArray[np.float64]) -> float:
    """Return the arithmetic mean."""
    return float(values.mean())
