"""A result whose figures are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from scanside.bench.schema import (
    BenchBundle,
    BenchResult,
    Disturbance,
    Environment,
    Memory,
    Samples,
    Settings,
    Start,
    Verdict,
    Workload,
)
from scanside.bench.summaries import groups

if TYPE_CHECKING:
    from collections.abc import Callable


def samples_of(count: int, *, factor: float = 1.0, noise: float = 0.03, seed: int = 0) -> Samples:
    """Every third slice is positive and takes three times as long."""
    random = np.random.default_rng(seed)
    positive = np.arange(count) % 3 == 0
    classify = 5 * factor * (1 + noise * random.standard_normal(count))
    segment = np.where(positive, 10 * factor * (1 + noise * random.standard_normal(count)), 0)
    latency = classify + segment + 0.5
    return Samples(
        latency=tuple(latency.tolist()),
        work=tuple(latency.tolist()),
        slices=(1,) * count,
        positive=tuple(int(p) for p in positive),
        stages={"classify": tuple(classify.tolist()), "segment": tuple(segment.tolist())},
    )


@pytest.fixture
def samples() -> Callable[..., Samples]:
    """Make samples."""
    return samples_of


@pytest.fixture
def result(samples: Callable[..., Samples]) -> BenchResult:
    """A valid result of the latency scenario."""
    return with_samples(_EMPTY, samples(90))


@pytest.fixture
def replaced() -> Callable[[BenchResult, Samples], BenchResult]:
    """Give a result other samples."""
    return with_samples


def with_samples(held: BenchResult, taken: Samples) -> BenchResult:
    return msgspec.structs.replace(
        held, samples=taken, groups=groups(taken, held.settings, held.seconds)
    )


_EMPTY = BenchResult(
    created="2026-01-01T00:00:00+00:00",
    settings=Settings(
        scenario="latency", warm_up_ms=200, duration_s=1, iterations=10,
        percentiles=(90.0, 95.0, 99.0), positive_rate=None, seed=0,
    ),
    bundle=BenchBundle(name="toy", version="1", manifest_sha256="0" * 64),
    backend="cpu",
    precision="fp32",
    workload=Workload(
        source="golden", sha256="1" * 64, slices=6, negative=4, positive=2, held_bytes=9,
        achieved_positive_rate=1 / 3,
    ),
    start=Start(open_bundle_ms=1, load_ms=2, first_result_ms=3, first_positive_ms=4),
    memory=Memory(self_bytes=10**8, children_bytes=0, tree_bytes=10**8),
    environment=Environment(
        machine="m", cpu="<c&pu>", architecture="x86_64", cores=2, usable_cores=2,
        governors={"policy0": "performance"}, clock_limits={}, memory_bytes=1, system="s",
        kernel="k", virtualised=False, versions={}, backend={}, jetson={},
    ),
    disturbance=Disturbance(
        steal_share=0.0, others_share=0.0, cgroup_throttled=0, thermal_events={}, cooling={},
        sensors={},
    ),
    seconds=1.0,
    groups={},
    samples=Samples(latency=(), work=(), slices=(), positive=(), stages={}),
    verdict=Verdict(valid=True, reasons=(), notes=()),
)  # fmt: skip
