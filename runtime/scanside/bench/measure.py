"""One measurement from loading the models to the verdict."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from scanside.bench import loadgen, scenarios
from scanside.bench.disturbance import Monitor
from scanside.bench.environment import stamp
from scanside.bench.layers import check_profiles, time_layers
from scanside.bench.memory import Peaks
from scanside.bench.schema import (
    LOADGEN_SCENARIOS,
    BenchBundle,
    BenchResult,
    Start,
    Workload,
)
from scanside.bench.summaries import groups
from scanside.bench.verdict import Evidence, judge
from scanside.bench.workload import check_positive_rate, first_pass, golden_slices, slices_of
from scanside.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.bench.recorder import Recorder
    from scanside.bench.schema import LoadGenReport, Settings
    from scanside.bench.workload import Loaded
    from scanside.bundle import Bundle
    from scanside.contract import Precision
    from scanside.runner import Options

__all__ = ["HELD_SLICES", "Request", "measure"]

HELD_SLICES: Final = 256
"""Slices of a folder at most: 100 MB of pixels at 256 x 256, beside the models."""


class Request(NamedTuple):
    """What to measure.

    Attributes
    ----------
    bundle
        The opened bundle.
    open_bundle_ms
        What opening it took.
    backend, precision
        As for `Pipeline.open`.
    settings
        Scenario, duration, ...
    data
        A folder of slices; none for the golden ones.
    options
        How its slices are read.
    held
        Slices of it at most.
    logs
        Folder for LoadGen's logs; none for a temporary one.
    profile_layers
        Time every layer as well, after the measurement.
    """

    bundle: Bundle
    open_bundle_ms: float
    backend: str
    precision: Precision | None
    settings: Settings
    data: Path | None
    options: Options
    held: int = HELD_SLICES
    logs: Path | None = None
    profile_layers: bool = False


def measure(request: Request, say: Callable[[str], None] = lambda _: None) -> BenchResult:
    """Measure.

    Parameters
    ----------
    request
        What to measure.
    say
        Told what is being done.

    Raises
    ------
    ExtraNotInstalledError
        If the scenario needs LoadGen and it is not installed.
    InputError
        If a slice is not accepted.
    UsageError
        If the positive rate can't be made from the slices, or the backend can't time layers.
    BackendError
        If the device fails.
    BenchmarkInvalidError
        If LoadGen gave no verdict. Everything else that makes a measurement invalid is in the
        result.
    """
    settings = request.settings
    if settings.scenario in LOADGEN_SCENARIOS:
        loadgen.require_loadgen(settings.scenario)
    loaded = _slices(request)
    peaks = Peaks()
    before = time.perf_counter()
    pipeline = Pipeline.open(
        request.bundle,
        backend=request.backend,
        precision=request.precision,
        streaming=settings.scenario == "stream",
    )
    load_ms = (time.perf_counter() - before) * 1e3
    with pipeline:
        if pipeline.fallback is not None:
            say(f"using {pipeline.backend.name}: {pipeline.fallback}")
        profiler = check_profiles(pipeline.backend) if request.profile_layers else None
        first = first_pass(pipeline, loaded.slices)
        check_positive_rate(first.positive, settings.positive_rate)
        run = scenarios.Run(pipeline, loaded.slices, first.positive, settings, request.options)
        rate = scenarios.warm_up(run)
        if settings.scenario == "server" and settings.target_qps is None:
            settings = msgspec.structs.replace(settings, target_qps=round(rate / 2, 2))
            run = run._replace(settings=settings)
            say(f"--target-qps {settings.target_qps:g}: half of what the warm-up reached")
        environment = stamp(pipeline.backend.describe())
        say(f"measuring {settings.scenario}")
        with Monitor(also=peaks.look) as monitor:
            recorder, seconds, report = _drive(run, rate, request.logs)
        memory = peaks.memory()
        layers = {}
        if profiler is not None:
            say("timing layers")
            layers = time_layers(profiler, loaded.slices[0].prepared.image)
        backend, precision = pipeline.backend.name, pipeline.backend.precision
    samples = recorder.samples()
    workload = Workload(
        source=loaded.source,
        sha256=loaded.sha256,
        slices=len(loaded.slices),
        negative=int(np.count_nonzero(~first.positive)),
        positive=int(np.count_nonzero(first.positive)),
        held_bytes=loaded.held_bytes,
        achieved_positive_rate=recorder.positive / max(1, recorder.slices),
    )
    evidence = Evidence(
        settings=settings,
        samples=samples,
        workload=workload,
        environment=environment,
        disturbance=monitor.found,
        loadgen=report,
        astray=recorder.astray,
        not_finite=recorder.not_finite + first.not_finite,
    )
    manifest = request.bundle.manifest
    return BenchResult(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        settings=settings,
        bundle=BenchBundle(
            name=manifest.name,
            version=manifest.version,
            manifest_sha256=request.bundle.manifest_sha256,
        ),
        backend=backend,
        precision=precision,
        workload=workload,
        start=Start(
            open_bundle_ms=round(request.open_bundle_ms, 3),
            load_ms=round(load_ms, 3),
            first_result_ms=first.first_result_ms,
            first_positive_ms=first.first_positive_ms,
        ),
        memory=memory,
        environment=environment,
        disturbance=monitor.found,
        seconds=seconds,
        groups=groups(samples, settings, seconds),
        samples=samples,
        verdict=judge(evidence),
        loadgen=report,
        layers=layers,
    )


def _slices(request: Request) -> Loaded:
    if request.data is None:
        return golden_slices(request.bundle)
    return slices_of(request.data, request.options, limit=request.held, seed=request.settings.seed)


def _drive(
    run: scenarios.Run, rate: float, logs: Path | None
) -> tuple[Recorder, float, LoadGenReport | None]:
    if run.settings.scenario == "latency":
        return *scenarios.latency(run), None
    if run.settings.scenario == "stream":
        return *scenarios.stream(run), None
    return loadgen.drive(run, rate, logs)
