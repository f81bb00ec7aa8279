"""What a benchmark writes: ``scanside.bench/1`` as structures that refuse anything else."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from scanside.bench.machine import Disturbance, Environment, Memory, SensorRange
from scanside.contract import Precision  # noqa: TC001 - msgspec reads the annotations
from scanside.fields import Count, Part, Positive, Probability, Sha256

__all__ = [
    "BENCH_SCHEMA",
    "LOADGEN_SCENARIOS",
    "SCENARIOS",
    "BenchBundle",
    "BenchResult",
    "Disturbance",
    "Environment",
    "Group",
    "LayerTime",
    "LoadGenReport",
    "Memory",
    "Samples",
    "Scenario",
    "SensorRange",
    "Settings",
    "Start",
    "Summary",
    "Verdict",
    "Workload",
]

BENCH_SCHEMA: Final = "scanside.bench/1"

Scenario = Literal["latency", "stream", "single-stream", "multi-stream", "server", "offline"]
SCENARIOS: Final[tuple[Scenario, ...]] = (
    "latency",
    "stream",
    "single-stream",
    "multi-stream",
    "server",
    "offline",
)
LOADGEN_SCENARIOS: Final = SCENARIOS[2:]
"""Those that MLPerf LoadGen drives."""

Milliseconds = Annotated[float, Meta(ge=0)]


class Settings(Part, frozen=True, kw_only=True):
    """What was asked for.

    Attributes
    ----------
    scenario
        One of `SCENARIOS`.
    warm_up_ms, duration_s, iterations
        As trtexec's ``--warmUp``, ``--duration`` and ``--iterations``: the measurement ends once
        the duration is over and the iterations are done.
    percentiles
        In percent.
    positive_rate
        Share of positive slices that was asked for; none for the natural mix.
    seed
        Of everything that is drawn.
    batch
        Slices of one query (multi-stream) or of one batch (offline); 1 elsewhere.
    target_qps
        Arrivals a second (server), or slices a second that LoadGen expects (offline); none
        elsewhere, and offline where the warm-up decides.
    latency_bound_ms
        The bound on the latency (server); none elsewhere.
    """

    scenario: Scenario
    warm_up_ms: Milliseconds
    duration_s: Annotated[float, Meta(ge=0)]
    iterations: Count
    percentiles: tuple[float, ...]
    positive_rate: Probability | None
    seed: Count
    batch: Positive = 1
    target_qps: float | None = None
    latency_bound_ms: float | None = None


class BenchBundle(Part, frozen=True, kw_only=True):
    """The bundle that was measured."""

    name: str
    version: str
    manifest_sha256: Sha256


class Workload(Part, frozen=True, kw_only=True):
    """The slices that were analysed.

    Attributes
    ----------
    source
        ``golden`` (phantoms of the bundle) or the folder.
    sha256
        Hash of all prepared slices in order: equal slices, equal hash.
    slices, negative, positive
        Distinct slices; positive are those that the gate sends to the segmenter.
    held_bytes
        Memory that the slices take in the measured process.
    achieved_positive_rate
        Share of positive slices among those that were measured.
    """

    source: str
    sha256: Sha256
    slices: Positive
    negative: Count
    positive: Count
    held_bytes: Count
    achieved_positive_rate: Probability


class Start(Part, frozen=True, kw_only=True):
    """Milliseconds until the first results.

    Attributes
    ----------
    open_bundle_ms
        Reading and verifying the bundle.
    load_ms
        Loading both models.
    first_result_ms
        The first slice, warm-up of libraries and memory included.
    first_positive_ms
        The first slice that was segmented; none where there is none.
    """

    open_bundle_ms: Milliseconds
    load_ms: Milliseconds
    first_result_ms: Milliseconds
    first_positive_ms: Milliseconds | None


class Summary(Part, frozen=True, kw_only=True):
    """Milliseconds of one kind of thing; percentiles by nearest rank."""

    count: Positive
    min: float
    mean: float
    median: float
    percentiles: dict[str, float]
    max: float
    cv: float | None


class Group(Part, frozen=True, kw_only=True):
    """Negative slices, positive slices, or the mix.

    Attributes
    ----------
    latency
        From the question to the answer: of a slice, or of a query where it holds several.
    beyond_backend
        What remains without the stages classify and segment; none where latency holds queues.
    stages
        By stage: those that took place.
    slices_per_second
        Of the mix: slices over the wall-clock time. Of a class: what the device would do on
        that class alone, one after the other; none where latency holds queues.
    """

    latency: Summary
    beyond_backend: Summary | None
    stages: dict[str, Summary]
    slices_per_second: float | None


class Samples(Part, frozen=True, kw_only=True):
    """Every sample in the order of time, in milliseconds, rounded to microseconds.

    Attributes
    ----------
    latency
        What `Group.latency` summarises.
    work
        What the pipeline worked on it; stability is judged by it.
    slices, positive
        Slices of the sample, and how many of them were segmented.
    stages
        By stage, the sum over the sample's slices; 0 where the stage did not take place.
    """

    latency: tuple[float, ...]
    work: tuple[float, ...]
    slices: tuple[int, ...]
    positive: tuple[int, ...]
    stages: dict[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        columns = [self.latency, self.work, self.slices, self.positive, *self.stages.values()]
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"columns of {sorted({len(c) for c in columns})} samples")


class LoadGenReport(Part, frozen=True, kw_only=True):
    """What MLPerf LoadGen said, in its own words and names.

    Attributes
    ----------
    version
        LoadGen's.
    result
        ``VALID`` or ``INVALID``.
    constraints
        Its conditions: whether each was met.
    early_stopping, invalid_reason
        Its texts.
    figures
        Its results by name.
    settings
        The settings that it says were in effect.
    errors, warnings
        Lines that it logged as such.
    summary
        Its ``mlperf_log_summary.txt``.
    """

    version: str
    result: Literal["VALID", "INVALID"]
    constraints: dict[str, bool]
    early_stopping: str
    invalid_reason: str
    figures: dict[str, float]
    settings: dict[str, str]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    summary: str


class Verdict(Part, frozen=True, kw_only=True):
    """Whether the figures may be quoted, why not, and what to know besides."""

    valid: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


class LayerTime(Part, frozen=True, kw_only=True):
    """A layer of a model: its median, and its share of the sum of all layers."""

    name: str
    median_ms: Annotated[float, Meta(ge=0)]
    share: Annotated[float, Meta(ge=0, le=1)]


class BenchResult(Part, frozen=True, kw_only=True):
    """One measurement."""

    schema: Literal["scanside.bench/1"] = BENCH_SCHEMA
    created: str
    settings: Settings
    bundle: BenchBundle
    backend: str
    precision: Precision
    workload: Workload
    start: Start
    memory: Memory
    environment: Environment
    disturbance: Disturbance
    seconds: Annotated[float, Meta(gt=0)]
    groups: dict[str, Group]
    samples: Samples
    verdict: Verdict
    loadgen: LoadGenReport | None = None
    layers: dict[str, tuple[LayerTime, ...]] = msgspec.field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the result as JSON."""
        return msgspec.json.encode(self) + b"\n"
