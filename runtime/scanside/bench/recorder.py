"""Samples as they are taken: columns that grow, and the routes that were not expected."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from scanside.bench.schema import Samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scanside.pipeline import Result

__all__ = ["STAGES", "Recorder"]

STAGES: Final = ("decode", "preprocess", "classify", "segment", "postprocess")
"""In the order in which a slice meets them."""


class Recorder:
    """Collects samples; adding one costs some microseconds, outside what is timed.

    Attributes
    ----------
    slices, positive
        Slices so far, and how many of them were segmented.
    astray
        Slices that took another route through the gate than on the first pass.
    not_finite
        Slices whose probability is not finite.
    """

    def __init__(self) -> None:
        self.slices = self.positive = self.astray = self.not_finite = 0
        self._latency: list[float] = []
        self._work: list[float] = []
        self._sizes: list[int] = []
        self._positive: list[int] = []
        self._stages: list[dict[str, float]] = []

    def __len__(self) -> int:
        return len(self._latency)

    def add_results(
        self,
        latency_ms: float,
        work_ms: float,
        results: Sequence[Result],
        expected: Sequence[bool],
        *,
        prepared: bool,
    ) -> None:
        """Add a sample.

        Parameters
        ----------
        latency_ms, work_ms
            See `scanside.bench.schema.Samples`.
        results
            What the pipeline found in the sample's slices.
        expected
            Which of them were positive on the first pass.
        prepared
            Whether they were prepared before the clock started: preprocessing then is no stage.
        """
        stages: dict[str, float] = defaultdict(float)
        for result in results:
            for name, spent in result.timings_ms.items():
                if not (prepared and name == "preprocess"):
                    stages[name] += spent
            self.not_finite += result.tumor_probability is None
        routes = [result.segmented for result in results]
        self.astray += sum(a != b for a, b in zip(routes, expected, strict=True))
        self.add(latency_ms, work_ms, (len(routes), sum(routes)), stages)

    def add(
        self,
        latency_ms: float,
        work_ms: float,
        counts: tuple[int, int],
        stages: Mapping[str, float],
    ) -> None:
        """Add a sample of so many slices, so many of them positive."""
        self._latency.append(round(latency_ms, 3))
        self._work.append(round(work_ms, 3))
        self._sizes.append(counts[0])
        self._positive.append(counts[1])
        self._stages.append(dict(stages))
        self.slices += counts[0]
        self.positive += counts[1]

    def samples(self) -> Samples:
        """Return the columns."""
        seen = [name for name in STAGES if any(name in stages for stages in self._stages)]
        return Samples(
            latency=tuple(self._latency),
            work=tuple(self._work),
            slices=tuple(self._sizes),
            positive=tuple(self._positive),
            stages={
                name: tuple(round(stages.get(name, 0.0), 3) for stages in self._stages)
                for name in seen
            },
        )
