"""The uncertainty of a figure, from drawing patients anew.

Patients are drawn, not slices: slices of one patient resemble each other, and an interval over
slices is far too narrow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from scanside.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["LEVEL", "RESAMPLES", "Estimate", "bootstrap"]

RESAMPLES: Final = 1000
"""Enough for the ends of a 95 % interval (Efron, Tibshirani 1993, section 14.5)."""

LEVEL: Final = 0.95

_Patient = TypeVar("_Patient")


class Estimate(NamedTuple):
    """A figure with its interval.

    Attributes
    ----------
    value
        The figure of all patients; ``nan`` where it is not defined.
    low, high
        Ends of the percentile interval over patients; ``nan`` where there is none: the figure
        is not defined, or there are fewer than two patients.
    undefined
        Share of the resamples in which the figure is not defined; the interval is that of the
        others.
    """

    value: float
    low: float
    high: float
    undefined: float


def bootstrap(
    patients: Sequence[_Patient],
    statistics: Callable[[Sequence[_Patient]], Mapping[str, float]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """Estimate figures of per-patient data, each with its percentile interval.

    Parameters
    ----------
    patients
        What is known of each patient, in any form.
    statistics
        From such a sequence to figures by name; ``nan`` where one is not defined. The names
        are those that it gives for all patients.
    seed
        Of the draws; the same resamples serve every figure.
    resamples
        How often as many patients are drawn with replacement.
    level
        Coverage of the interval.

    Returns
    -------
    dict of str to Estimate
        By the figure's name.

    Raises
    ------
    InputError
        If there is no patient.
    UsageError
        If `resamples` or `level` make no sense.

    References
    ----------
    Efron, Tibshirani (1993): An introduction to the bootstrap, chapter 13. Chapman & Hall.
    """
    if not patients:
        raise InputError("there is no patient to estimate anything from", accepted="one or more")
    if resamples < 1 or not 0 < level < 1:
        raise UsageError(f"{resamples} resamples at level {level}", accepted=">= 1, 0 < level < 1")
    values = dict(statistics(patients))
    drawn: dict[str, list[float]] = {name: [] for name in values}
    if len(patients) > 1:
        random = np.random.default_rng(seed)
        for _ in range(resamples):
            draw = random.integers(len(patients), size=len(patients)).tolist()
            for name, value in statistics([patients[at] for at in draw]).items():
                drawn[name].append(value)
    return {name: _estimate(value, drawn[name], level) for name, value in values.items()}


def _estimate(value: float, drawn: list[float], level: float) -> Estimate:
    defined = [each for each in drawn if not math.isnan(each)]
    undefined = 1.0 - len(defined) / len(drawn) if drawn else 0.0
    if math.isnan(value) or not defined:
        return Estimate(value, math.nan, math.nan, undefined)
    # Order statistics, not interpolation: a figure may be infinite in some resamples.
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail], method="inverted_cdf")
    return Estimate(value, float(low), float(high), undefined)
