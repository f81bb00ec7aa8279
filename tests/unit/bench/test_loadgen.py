"""LoadGen's scenarios, its logs, and what happens where it is missing or stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import pytest

from scanside.bench import loadgen
from scanside.bench.loadgen_log import DETAIL, SUMMARY, read_report
from scanside.bench.schema import LOADGEN_SCENARIOS
from scanside.errors import BenchmarkInvalidError, ExtraNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done
    from scanside.bench.schema import BenchResult, Scenario

needs_loadgen = pytest.mark.skipif(
    find_spec("mlperf_loadgen") is None, reason="needs the bench extra (mlcommons-loadgen)"
)


def line(key: str, value: object, *, error: bool = False, warning: bool = False) -> str:
    held = {"key": key, "value": value, "time_ms": 1.0, "namespace": "mlperf::logging",
            "event_type": "POINT_IN_TIME",
            "metadata": {"is_error": error, "is_warning": warning, "line_no": 1}}  # fmt: skip
    return f":::MLLOG {json.dumps(held)}\n"


SERVER = (
    line("loadgen_version", "6.0.17 @ d6147c7eb7")
    + line("effective_target_qps", 50)
    + "not a line of the log\n"
    + line("generic_warning", "a  warning", warning=True)
    + line("result_validity", "INVALID")
    + line("result_perf_constraints_met", value=True)
    + line("result_min_duration_met", value=True)
    + line("early_stopping_met", value=False)
    + line("result_invalid_reason", "")
    + line("early_stopping_result", " * Run unsuccessful.\n * Processed 93 queries.")
    + line("result_99.00_percentile_latency_ns", 37490017)
    + line("num_errors", 0)
)
"""The lines of a short server test that are read."""


def write_logs(folder: Path, detail: str) -> Path:
    (folder / DETAIL).write_text(detail)
    (folder / SUMMARY).write_text("MLPerf Results Summary\n")
    return folder


def test_the_verdict_is_loadgens_own(tmp_path: Path) -> None:
    found = read_report(write_logs(tmp_path, SERVER))
    assert found.result == "INVALID"
    assert found.constraints == {
        "performance constraints satisfied": True,
        "min duration satisfied": True,
        "early stopping satisfied": False,
    }
    assert found.early_stopping == "* Run unsuccessful. * Processed 93 queries."
    assert found.figures == {"result_99.00_percentile_latency_ns": 37490017}
    assert found.settings == {"target_qps": "50"}
    assert (found.warnings, found.errors) == (("a warning",), ())
    assert found.summary == "MLPerf Results Summary\n"


@pytest.mark.parametrize(
    "detail",
    ["", line("loadgen_version", "6"), line("result_validity", "PERHAPS"), ":::MLLOG {"],
)
def test_logs_without_a_verdict_are_no_verdict(tmp_path: Path, detail: str) -> None:
    with pytest.raises(BenchmarkInvalidError, match="hold no verdict"):
        read_report(write_logs(tmp_path, detail))


def test_no_logs_are_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkInvalidError, match="hold no verdict"):
        read_report(tmp_path)


def test_a_missing_loadgen_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "find_spec", lambda _: None)
    with pytest.raises(ExtraNotInstalledError, match=r"pip install 'scanside\[bench\]'"):
        loadgen.require_loadgen("server")


@pytest.mark.parametrize(
    ("scenario", "wanted"),
    [
        ("single-stream", {"single_stream_expected_latency_ns": 33_333_333}),
        ("multi-stream", {"multi_stream_samples_per_query": 4,
                          "multi_stream_expected_latency_ns": 133_333_333}),
        ("offline", {"offline_expected_qps": 30.0}),
        ("server", {"server_target_qps": 10.0, "server_target_latency_ns": 100_000_000}),
    ],
)  # fmt: skip
def test_settings_are_in_loadgens_units(
    result: BenchResult, scenario: Scenario, wanted: dict[str, float]
) -> None:
    settings = msgspec.structs.replace(
        result.settings, scenario=scenario, duration_s=2.5, iterations=7, batch=4
    )
    fields = loadgen.test_settings(settings, 20.0)
    assert fields["min_duration_ms"] == 2500
    assert fields["min_query_count"] == 7
    seeds = {fields[f"{name}_rng_seed"] for name in ("qsl", "sample_index", "schedule")}
    assert len(seeds) == 3
    assert {name: fields[name] for name in wanted} == wanted
    assert set(fields) - set(wanted) == {
        "min_duration_ms", "min_query_count", "qsl_rng_seed", "sample_index_rng_seed",
        "schedule_rng_seed",
    }  # fmt: skip


@pytest.mark.slow
@needs_loadgen
@pytest.mark.parametrize("scenario", LOADGEN_SCENARIOS)
def test_loadgen_measures_the_pipeline(
    scanside: Callable[..., Done], toy_path: Path, tmp_path: Path, scenario: Scenario
) -> None:
    done = scanside(
        "bench", toy_path, "--scenario", scenario, "--duration", 1, "--json",
        tmp_path / "r.json", "--output", tmp_path / "logs", "--positive-rate", 0.5,
    )  # fmt: skip
    assert done.code in {0, 6}, done.err
    held = json.loads((tmp_path / "r.json").read_bytes())
    report = held["loadgen"]
    assert f"Result is : {report['result']}" in report["summary"]
    assert (tmp_path / "logs" / SUMMARY).read_text() == report["summary"]
    assert report["warnings"] == report["errors"] == []
    slices = held["samples"]["slices"]
    assert slices[0] == (8 if scenario in {"multi-stream", "offline"} else 1)
    if scenario == "single-stream":  # LoadGen's clock and this one's saw the same queries
        assert report["figures"]["result_query_count"] == len(slices)
        theirs = report["figures"]["result_mean_latency_ns"] / 1e6
        ours = sum(held["samples"]["latency"]) / len(slices)
        assert 0 < ours <= theirs * 1.05
    assert ("INVALID" in done.out) == (done.code == 6)


@pytest.mark.slow
@needs_loadgen
@pytest.mark.parametrize("scenario", ["single-stream", "offline"])
def test_ctrl_c_ends_loadgen_and_leaves_nothing(
    toy_path: Path, tmp_path: Path, scenario: str
) -> None:
    command = [sys.executable, "-m", "scanside", "bench", str(toy_path),
               "--scenario", scenario, "--duration", "60"]  # fmt: skip
    running = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert running.stderr is not None
    with running, running.stderr as lines:
        for text in lines:
            if f"measuring {scenario}" in text:
                break
        time.sleep(2)
        running.send_signal(signal.SIGINT)
        said = lines.read()
    assert running.returncode == 130
    assert said.strip() == "scanside: interrupted"
    assert list(tmp_path.iterdir()) == []
