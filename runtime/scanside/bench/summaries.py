"""Samples summed up: by class, and by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.bench.schema import Group, Summary
from scanside.bench.statistics import coefficient_of_variation, median, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside.bench.schema import Samples, Settings

__all__ = ["CLASSES", "groups", "members", "summarise"]

CLASSES: Final = ("mix", "negative", "positive")

_BACKEND: Final = ("classify", "segment")
"""The stages that are the backend's calls."""


def summarise(values: NDArray[np.float64], percentiles: Sequence[float]) -> Summary:
    """Sum up milliseconds.

    Parameters
    ----------
    values
        float64 ``[N]``, N at least 1.
    percentiles
        In percent.
    """
    spread = coefficient_of_variation(values)
    return Summary(
        count=len(values),
        min=float(values.min()),
        mean=round(float(values.mean()), 4),
        median=round(median(values), 4),
        percentiles={f"{percent:g}": percentile(values, percent) for percent in percentiles},
        max=float(values.max()),
        cv=None if spread is None else round(spread, 4),
    )


def members(samples: Samples, name: str) -> NDArray[np.bool_]:
    """Tell which samples belong to one of `CLASSES`.

    A sample of several slices belongs to the mix alone.

    Returns
    -------
    ndarray of bool
        ``[N]``.
    """
    sizes, positive = np.array(samples.slices), np.array(samples.positive)
    if name == "mix":
        return np.ones(len(sizes), np.bool_)
    member: NDArray[np.bool_] = (sizes == 1) & (positive == (name == "positive"))
    return member


def groups(samples: Samples, settings: Settings, seconds: float) -> dict[str, Group]:
    """Sum up samples for the mix and for each class that has any.

    Parameters
    ----------
    samples
        The samples.
    settings
        What was asked for.
    seconds
        Wall-clock time of all of them.
    """
    queued = settings.scenario in {"stream", "server"}
    found = {}
    for name in CLASSES:
        member = members(samples, name)
        if not member.any():
            continue
        latency = np.array(samples.latency)[member]
        speed = 1e3 / float(latency.mean()) if not queued and latency.mean() > 0 else None
        if name == "mix":
            speed = sum(samples.slices) / seconds
        stages = {stage: np.array(spent)[member] for stage, spent in samples.stages.items()}
        backend = sum((stages[s] for s in _BACKEND if s in stages), np.zeros(len(latency)))
        found[name] = Group(
            latency=summarise(latency, settings.percentiles),
            beyond_backend=None
            if queued
            else summarise(np.maximum(latency - backend, 0), settings.percentiles),
            stages={
                stage: summarise(spent[spent > 0], settings.percentiles)
                for stage, spent in stages.items()
                if (spent > 0).any()
            },
            slices_per_second=None if speed is None else round(speed, 3),
        )
    return found
