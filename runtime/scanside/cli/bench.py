"""``scanside bench``: what a slice costs on this device."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scanside.bench.compare import check_comparable, compare, read_result
from scanside.bench.loadgen import FEWEST_QUERIES, LATENCY_BOUND_MS
from scanside.bench.measure import HELD_SLICES, Request, measure
from scanside.bench.page import html_page
from scanside.bench.schema import LOADGEN_SCENARIOS, SCENARIOS, Settings
from scanside.bench.statistics import parse_percentiles
from scanside.bench.tables import comparison_lines, csv_table, result_lines
from scanside.bundle import open_bundle
from scanside.cli.given import check_needs, given_options
from scanside.cli.options import _window, backend_options, pin_option
from scanside.cli.say import say, show
from scanside.errors import BenchmarkInvalidError
from scanside.runner import Options
from scanside.writers.files import write_atomic

if TYPE_CHECKING:
    from scanside.bench.schema import BenchResult, Scenario
    from scanside.contract import Precision
    from scanside.preprocess import Window

__all__ = ["bench"]

_ITERATIONS = 10
_BATCH = 8
_NEEDS = {"--slices": "--data", "--window": "--data", "--fill-missing": "--data"}
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@pin_option
@backend_options
@click.option(
    "--scenario",
    type=click.Choice(SCENARIOS),
    default="latency",
    show_default=True,
    help="latency: one slice after the other. stream: files as scanside run has them. The others"
    " are MLPerf LoadGen's.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Measure on these slices.  [default: the bundle's golden slices, phantoms]",
)
@click.option(
    "--slices",
    type=click.IntRange(min=1),
    default=HELD_SLICES,
    show_default=True,
    help="Slices of --data at most, drawn at random; they are held in memory.",
)
@click.option(
    "--window",
    callback=_window,
    metavar="LO,HI",
    help="Stored values that become black and white, for 16-bit and float slices.",
)
@click.option("--fill-missing", is_flag=True, help="Take grey slices, as scanside run does.")
@click.option(
    "--positive-rate",
    type=click.FloatRange(0, 1),
    help="Share of slices that go to the segmenter: it decides the cost.  [default: as they come]",
)
@click.option(
    "--warmUp",
    "warm_up",
    type=click.FloatRange(min=0),
    default=200,
    show_default=True,
    help="Milliseconds before the measurement.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0),
    default=10,
    show_default=True,
    help="Seconds of the measurement, at least.",
)
@click.option(
    "--iterations",
    type=click.IntRange(min=1),
    help="Slices or queries, at least.  [default: 10; for LoadGen what its early stopping needs]",
)
@click.option(
    "--percentile",
    default="90,95,99",
    show_default=True,
    metavar="P1,P2,...",
    help="Percentiles, by nearest rank.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help=f"Slices of a query (multi-stream) or a batch (offline).  [default: {_BATCH}]",
)
@click.option(
    "--target-qps",
    type=click.FloatRange(min=0, min_open=True),
    help="Arrivals a second (server), or slices a second expected (offline).  [default: half of"
    " what the warm-up reaches, or 1.5 times that]",
)
@click.option(
    "--latency-bound",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Milliseconds of the 99th percentile (server).  [default: {LATENCY_BOUND_MS:g}]",
)
@click.option(
    "--profile-layers",
    is_flag=True,
    help="Time every layer of both models as well (TensorRT), after the measurement.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of draws.")
@click.option("--json", "json_file", type=_FILE, help="Write the result with every sample.")
@click.option("--csv", "csv_file", type=_FILE, help="Write the table.")
@click.option("--html", "html_file", type=_FILE, help="Write a page with plots.")
@click.option("--compare", "old_file", type=_FILE, help="Compare with an earlier --json FILE.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for LoadGen's own logs.  [default: not kept]",
)
def bench(  # noqa: PLR0913 - one parameter an option
    *,
    bundle: Path | None,
    bundle_sha256: str | None,
    backend: str,
    precision: Precision | None,
    scenario: Scenario,
    data: Path | None,
    slices: int,
    window: Window | None,
    fill_missing: bool,
    positive_rate: float | None,
    warm_up: float,
    duration: float,
    iterations: int | None,
    percentile: str,
    batch: int | None,
    target_qps: float | None,
    latency_bound: float | None,
    profile_layers: bool,
    seed: int,
    json_file: Path | None,
    csv_file: Path | None,
    html_file: Path | None,
    old_file: Path | None,
    output: Path | None,
) -> None:
    """Measure what a slice of BUNDLE costs on this device: latency, throughput, start and memory.

    Negative slices, positive slices and the mix are told apart, and every stage. A measurement
    that was throttled, disturbed or unstable is INVALID: exit code 6, with the reasons; what was
    asked for is written all the same.
    """
    check_needs(given_options(click.get_current_context()), _NEEDS)
    _check_options(
        scenario, batch=batch, target_qps=target_qps, latency_bound=latency_bound, output=output
    )
    old = None
    if old_file is not None:
        old = read_result(old_file)
        check_comparable(old, scenario, old_file)
    settings = Settings(
        scenario=scenario,
        warm_up_ms=warm_up,
        duration_s=duration,
        iterations=iterations or FEWEST_QUERIES.get(scenario, _ITERATIONS),
        percentiles=parse_percentiles(percentile),
        positive_rate=positive_rate,
        seed=seed,
        batch=(batch or _BATCH) if scenario in {"multi-stream", "offline"} else 1,
        target_qps=target_qps,
        latency_bound_ms=(latency_bound or LATENCY_BOUND_MS) if scenario == "server" else None,
    )
    before = time.perf_counter()
    opened = open_bundle(bundle, manifest_sha256=bundle_sha256)
    request = Request(
        bundle=opened,
        open_bundle_ms=(time.perf_counter() - before) * 1e3,
        backend=backend,
        precision=precision,
        settings=settings,
        data=data,
        options=Options(window, fill_missing),
        held=slices,
        logs=output,
        profile_layers=profile_layers,
    )
    result = measure(request, say)
    comparison = None
    if old is not None and old_file is not None:
        comparison = compare(result, old, old_file)
    lines = [*result_lines(result)]
    if comparison is not None:
        lines += ["", *comparison_lines(comparison)]
    show(lines)
    for file, content in (
        (json_file, result.encode),
        (csv_file, lambda: csv_table(result)),
        (html_file, lambda: html_page(result, old, comparison)),
    ):
        if file is not None:
            write_atomic(file, content())
    _refuse(result)


def _check_options(
    scenario: Scenario,
    *,
    batch: int | None,
    target_qps: float | None,
    latency_bound: float | None,
    output: Path | None,
) -> None:
    """Refuse options that the scenario has no use for."""
    if batch is not None and scenario not in {"multi-stream", "offline"}:
        raise click.UsageError(f"--batch is for multi-stream and offline, not {scenario}")
    if target_qps is not None and scenario not in {"server", "offline"}:
        raise click.UsageError(f"--target-qps is for server and offline, not {scenario}")
    if latency_bound is not None and scenario != "server":
        raise click.UsageError(f"--latency-bound is for server, not {scenario}")
    if output is not None and scenario not in LOADGEN_SCENARIOS:
        raise click.UsageError(f"--output is for LoadGen's logs, and {scenario} has none")


def _refuse(result: BenchResult) -> None:
    if not result.verdict.valid:
        sys.stdout.flush()
        raise BenchmarkInvalidError(
            f"the measurement is INVALID: {'; '.join(result.verdict.reasons)}",
            remedy="stop what else runs, fix the clocks, and measure again",
        )
