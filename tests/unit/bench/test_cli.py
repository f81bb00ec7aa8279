"""``scanside bench`` as its users call it, on toy models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import pytest

import toy
from scanside.backends.cores import usable_cores
from scanside.bench import measure as measuring
from scanside.bench.schema import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]

QUICK = ("--duration", 0.1, "--warmUp", 1)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every measurement be valid: how busy this machine is does not matter here."""
    fine = Verdict(valid=True, reasons=(), notes=())
    monkeypatch.setattr(measuring, "judge", lambda _: fine)


def bench(scanside: Command, bundle: Path, folder: Path, *words: object) -> dict[str, Any]:
    done = scanside("bench", bundle, "--json", folder / "r.json", *QUICK, *words)
    assert done.code == 0, done.err
    held: dict[str, Any] = json.loads((folder / "r.json").read_bytes())
    return held


@pytest.mark.usefixtures("quiet")
def test_golden_slices_are_measured_by_class(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    held = bench(
        scanside, toy_path, tmp_path, "--positive-rate", 0.25, "--iterations", 40,
        "--percentile", "50,99.9", "--csv", tmp_path / "r.csv", "--html", tmp_path / "r.html",
    )  # fmt: skip
    assert held["schema"] == "scanside.bench/1"
    assert set(held["groups"]) == {"mix", "negative", "positive"}
    assert list(held["groups"]["mix"]["latency"]["percentiles"]) == ["50", "99.9"]
    count = len(held["samples"]["latency"])
    assert count >= 40
    assert sum(held["samples"]["positive"]) == int(count * 0.25)
    assert held["workload"]["source"] == "golden"
    assert held["seconds"] >= 0.1
    assert held["start"]["load_ms"] > 0
    assert held["memory"]["tree_bytes"] > 0
    total, stages = held["samples"]["latency"], held["samples"]["stages"]
    for n, latency in enumerate(total):
        assert sum(column[n] for column in stages.values()) <= latency + 0.01
        assert (stages["segment"][n] > 0) == bool(held["samples"]["positive"][n])
    assert (tmp_path / "r.csv").read_text().startswith("created,")
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


@pytest.mark.usefixtures("quiet")
def test_the_bundle_is_an_argument_as_verify_and_build_have_it(
    scanside: Command, toy_path: Path
) -> None:
    done = scanside("bench", toy_path, *QUICK)
    assert done.code == 0, done.err
    assert "toy 1" in done.out


@pytest.mark.usefixtures("quiet")
def test_a_stream_is_measured_from_files(scanside: Command, toy_path: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for n in range(4):
        pixels = toy.lesion_slice(n, lesion=n == 0)
        cv2.imwrite(str(data / f"s_{n}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    held = bench(
        scanside, toy_path, tmp_path, "--scenario", "stream", "--data", data, "--iterations", 600
    )
    assert held["workload"]["slices"] == 4
    # In the lanes that `scanside run` has on this machine.
    assert held["environment"]["backend"]["lanes"] == str(usable_cores())
    assert (held["workload"]["positive"], held["workload"]["negative"]) == (1, 3)
    assert len(held["samples"]["latency"]) >= 600  # more than one round of files
    assert held["workload"]["achieved_positive_rate"] == pytest.approx(0.25, abs=0.01)
    assert set(held["samples"]["stages"]) == {
        "decode", "preprocess", "classify", "segment", "postprocess",
    }  # fmt: skip
    assert held["groups"]["mix"]["beyond_backend"] is None
    assert sorted(p.name for p in data.iterdir()) == [f"s_{n}.png" for n in range(4)]


@pytest.mark.usefixtures("quiet")
def test_the_same_seed_measures_the_same_slices(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    runs = [
        bench(scanside, toy_path, tmp_path, "--iterations", 30, "--seed", seed)["samples"]
        for seed in (4, 4, 5)
    ]
    routes = [held["positive"][:30] for held in runs]
    assert routes[0] == routes[1] != routes[2]


def test_an_invalid_measurement_is_6_and_is_written(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    done = scanside(
        "bench", toy_path, "--duration", 0, "--iterations", 5, "--json",
        tmp_path / "r.json", "--csv", tmp_path / "r.csv",
    )  # fmt: skip
    assert done.code == 6
    assert "INVALID" in done.out
    assert "5 samples are too few" in done.err
    held = json.loads((tmp_path / "r.json").read_bytes())
    assert held["verdict"]["valid"] is False
    assert (tmp_path / "r.csv").exists()


@pytest.mark.usefixtures("quiet")
def test_compare_gives_ratios_and_refuses_another_scenario(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    mix = ("--positive-rate", 0.5, "--iterations", 200)
    bench(scanside, toy_path, tmp_path, *mix)
    again = ("bench", toy_path, *QUICK, *mix, "--compare", tmp_path / "r.json")
    done = scanside(*again, "--html", tmp_path / "r.html")
    assert done.code == 0
    assert "mix median" in done.out
    assert "% interval" in done.out
    assert "Compared with" in (tmp_path / "r.html").read_text()
    refused = scanside(*again, "--scenario", "stream")
    assert refused.code == 2
    assert "accepted: results of one scenario" in refused.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--batch", 4), 2, "--batch is for"),
        (("--slices", 256), 2, "--slices needs --data"),
        (("--window", "0,9"), 2, "--window needs --data"),
        (("--fill-missing",), 2, "--fill-missing needs --data"),
        (("--target-qps", 4), 2, "--target-qps is for"),
        (("--latency-bound", 4), 2, "--latency-bound is for"),
        (("--output", "logs"), 2, "--output is for"),
        (("--percentile", "x"), 2, "0 to 100"),
        (("--positive-rate", 1.5), 2, "1.5"),
        (("--window", "9,1"), 2, "LO below HI"),
        (("--data", "nowhere"), 3, "nowhere"),
        (("--compare", "nowhere.json"), 3, "nowhere.json"),
        (("nowhere",), 4, "nowhere"),
        (("--backend", "cuda"), 8, "cuda"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(
    scanside: Command, words: tuple[object, ...], code: int, said: str
) -> None:
    done = scanside("bench", *words)
    assert done.code == code
    assert said in done.err
    assert "measuring" not in done.err


@pytest.mark.usefixtures("quiet")
def test_a_file_that_cannot_be_written_is_9(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "r.json"
    done = scanside("bench", toy_path, *QUICK, "--json", target)
    assert done.code == 9
