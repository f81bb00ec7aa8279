"""The scenarios of MLPerf LoadGen: single-stream, multi-stream, server and offline.

References
----------
Reddi et al. (2020): MLPerf Inference Benchmark, ISCA, section IV.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.bench.loadgen_log import read_report
from scanside.bench.loadgen_process import serve
from scanside.bench.recorder import Recorder
from scanside.errors import BackendError, ExtraNotInstalledError
from scanside.writers.files import output_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from scanside.bench.scenarios import Run
    from scanside.bench.schema import LoadGenReport, Scenario, Settings

__all__ = ["FEWEST_QUERIES", "LATENCY_BOUND_MS", "drive", "require_loadgen", "test_settings"]

_NAMES: Final = {
    "single-stream": "SingleStream",
    "multi-stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}

FEWEST_QUERIES: Final[dict[Scenario, int]] = {
    "single-stream": 64,
    "multi-stream": 662,
    "server": 662,
    "offline": 1,
}
"""Queries from which LoadGen's early stopping can say VALID: 64 for the 90th percentile, 662 for
the 99th (its own messages name them); offline is a single query."""

LATENCY_BOUND_MS: Final = 100.0
"""Bound on the 99th percentile in the server scenario: what people take for immediate.

References
----------
Miller (1968): Response time in man-computer conversational transactions, AFIPS FJCC.
"""

_SAMPLES: Final = 1024
"""Length of the query sample library, as MLPerf's ResNet-50 has it. LoadGen draws from it with
replacement, so that the positive rate is that of the library within its draws."""

_MARGIN: Final = 1.5
"""LoadGen fixes the length of its query list before it begins, and one that is too short ends the
test early: INVALID. A warm-up is short, other work may slow it, and batches may be faster than
single slices."""

_TO_NS: Final = 1e6
_JOIN_SECONDS: Final = 10.0


def require_loadgen(scenario: Scenario) -> None:
    """Make sure that LoadGen is there, before anything is measured.

    Raises
    ------
    ExtraNotInstalledError
        If it is not.
    """
    if find_spec("mlperf_loadgen") is None:
        raise ExtraNotInstalledError(
            f"scanside bench --scenario {scenario}", package="mlcommons-loadgen", extra="bench"
        )


def test_settings(settings: Settings, rate: float) -> dict[str, float]:
    """Return the fields of LoadGen's ``TestSettings``.

    Parameters
    ----------
    settings
        What was asked for.
    rate
        Slices a second of the warm-up: LoadGen's first guess of the length of its query list.
    """
    seeds = np.random.SeedSequence(settings.seed).generate_state(3).tolist()
    fields: dict[str, float] = {
        "min_duration_ms": round(settings.duration_s * 1e3),
        "min_query_count": settings.iterations,
        **dict(
            zip(("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"), seeds, strict=True)
        ),
    }
    if settings.scenario == "single-stream":
        fields["single_stream_expected_latency_ns"] = round(1e9 / (rate * _MARGIN))
    elif settings.scenario == "multi-stream":
        fields["multi_stream_samples_per_query"] = settings.batch
        fields["multi_stream_expected_latency_ns"] = round(1e9 * settings.batch / (rate * _MARGIN))
    elif settings.scenario == "offline":
        fields["offline_expected_qps"] = settings.target_qps or rate * _MARGIN
    else:
        fields["server_target_qps"] = settings.target_qps or rate / 2
        bound = settings.latency_bound_ms or LATENCY_BOUND_MS
        fields["server_target_latency_ns"] = round(bound * _TO_NS)
    return fields


def drive(run: Run, rate: float, logs: Path | None) -> tuple[Recorder, float, LoadGenReport]:
    """Run one LoadGen test against the pipeline.

    Parameters
    ----------
    run
        What is measured.
    rate
        Slices a second of the warm-up.
    logs
        Folder for LoadGen's logs; none for a temporary one.

    Returns
    -------
    Recorder
        A sample a query; a sample a batch in the offline scenario.
    float
        Seconds from the first query to the last answer.
    LoadGenReport
        What LoadGen said.

    Raises
    ------
    BackendError
        If the device fails, or LoadGen's process does.
    BenchmarkInvalidError
        If LoadGen gave no verdict.
    OutputError
        If the folder can't be written to.
    """
    library = list(itertools.islice(run.order(), _SAMPLES))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) if logs is None else logs
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "mlperf_log_detail.txt").unlink(missing_ok=True)
        fields = test_settings(run.settings, rate)
        scenario = _NAMES[run.settings.scenario]
        with _process(scenario, fields, len(library), folder) as queries:
            recorder, seconds = _answer(run, queries, library)
        return recorder, seconds, read_report(folder)


@contextmanager
def _process(
    scenario: str, fields: dict[str, float], samples: int, folder: Path
) -> Iterator[Connection]:
    """Start LoadGen's process and end it, whatever happens."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    here, there = context.Pipe()
    process = context.Process(
        target=serve, args=(there, scenario, fields, samples, str(folder)), daemon=True
    )
    process.start()
    there.close()
    try:
        yield here
        process.join(_JOIN_SECONDS)
    except EOFError:
        process.join(_JOIN_SECONDS)
        raise BackendError(
            f"LoadGen's process ended with code {process.exitcode} before the test was over",
            remedy="look at the lines above; install it again: pip install 'scanside[bench]'",
        ) from None
    finally:
        here.close()
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _answer(run: Run, queries: Connection, library: list[int]) -> tuple[Recorder, float]:
    recorder = Recorder()
    offline = run.settings.scenario == "offline"
    first = last = 0
    while message := queries.recv_bytes():
        numbers = np.frombuffer(message, np.uint64)
        issued = int(numbers[0])
        first = first or issued
        ids, places = numbers[1::2], [library[n] for n in numbers[2::2].tolist()]
        size = run.settings.batch if offline else len(places)
        for start in range(0, len(places), size):
            part = places[start : start + size]
            began = time.perf_counter_ns()
            results = run.pipeline.analyse_prepared([run.slices[at].prepared for at in part])
            worked = time.perf_counter_ns()
            queries.send_bytes(ids[start : start + size].tobytes())
            last = time.perf_counter_ns()
            recorder.add_results(
                (last - (began if offline else issued)) / _TO_NS,
                (worked - began) / _TO_NS,
                results,
                [bool(run.positive[at]) for at in part],
                prepared=True,
            )
    return recorder, (last - first) / 1e9
