"""How `scanside run` behaves on a folder: cold start, throughput, memory, distance to the floor.

Each case is a process of its own; each line of the output is one JSON object. The floor is the
bare ``session.run`` time of the same models on the same slices, through the same gate, measured
in this run: no decoding, no results, no pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SCANSIDE = [sys.executable, "-m", "scanside"]


def main() -> None:
    """Run the cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of slices")
    parser.add_argument("--bundle", type=Path, help="another bundle than the default one")
    parser.add_argument("--repeat", type=int, default=5, help="cold starts [default: 5]")
    parser.add_argument("--few", type=int, default=300, help="slices of the short run")
    arguments = parser.parse_args()
    bundle = ["--bundle", str(arguments.bundle)] if arguments.bundle else []
    files = listed(arguments.folder)
    few = files[: arguments.few]
    print(json.dumps(cold_start(files[0], bundle, arguments.repeat)))
    short, long = folder_run(few, bundle), folder_run(files, bundle)
    print(json.dumps(short))
    print(json.dumps(long))
    bare = floor(few, arguments.bundle)
    print(json.dumps(bare))
    print(
        json.dumps(
            {
                "case": "summary",
                "throughput / floor": round(
                    short["slices_per_second"] / bare["slices_per_second"], 3
                ),
                "memory, all slices / few": round(long["peak_rss_mb"] / short["peak_rss_mb"], 3),
            }
        )
    )


def listed(folder: Path) -> list[Path]:
    """Return the slices of a folder, as scanside finds them."""
    from scanside.readers.discover import discover

    return list(discover([folder]).files)


def cold_start(file: Path, bundle: list[str], repeat: int) -> dict[str, Any]:
    """Time the whole process for one slice, file cache warm."""
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        subprocess.run([*SCANSIDE, "run", file, *bundle], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    kept = seconds[1:]
    return {
        "case": "cold start, one slice",
        "seconds_median": round(statistics.median(kept), 3),
        "seconds_min": round(min(kept), 3),
        "seconds_max": round(max(kept), 3),
    }


def folder_run(files: list[Path], bundle: list[str]) -> dict[str, Any]:
    """Run a folder of links to the files, and read the summary and the child's peak memory."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "slices"
        for number, file in enumerate(files):
            link = source / file.parent.name / f"{number:06d}_{file.name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
        output = Path(scratch) / "out"
        command: list[str | Path] = [*SCANSIDE, "run", source, "--output", output, *bundle]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"scanside run ended with {child.returncode}")
        with (output / "results.jsonl").open() as lines:
            summary = json.loads(list(lines)[-1])
    return {
        "case": f"scanside run, {summary['slices']} slices",
        "slices_per_second": summary["slices_per_second"],
        "skip_rate": round(summary["skip_rate"], 4),
        "positive": summary["positive"],
        "indeterminate": summary["indeterminate"],
        "rejected": summary["rejected"],
        "peak_rss_mb": round(usage.ru_maxrss / 1024, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "bundle": summary["bundle"],
        "precision": summary["precision"],
        "backend": summary["backend"],
    }


def floor(files: list[Path], bundle: Path | None) -> dict[str, Any]:
    """Time the models alone on prepared slices, through the same gate, in this process."""
    from scanside import Pipeline, open_bundle
    from scanside.gate import Route, route
    from scanside.pipeline import prepare
    from scanside.readers.image import read_file

    images = [prepare(piece.pixels).image[None] for file in files for piece in read_file(file)]
    with Pipeline.open(open_bundle(bundle), backend="cpu") as pipeline:
        backend, thresholds = pipeline.backend, pipeline.thresholds
        for image in images[:10]:
            backend.classify(image)
            backend.segment(image)
        classify, segment = [], []
        for image in images:
            started = time.perf_counter()
            probability = float(backend.classify(image)[0, 0])
            classify.append(time.perf_counter() - started)
            if route(probability, thresholds) is Route.SEGMENT:
                started = time.perf_counter()
                backend.segment(image)
                segment.append(time.perf_counter() - started)
    spent = sum(classify) + sum(segment)
    return {
        "case": f"floor: bare models, {len(images)} slices",
        "slices_per_second": round(len(images) / spent, 2),
        "classify_ms_median": round(statistics.median(classify) * 1e3, 2),
        "segment_ms_median": round(statistics.median(segment or [0.0]) * 1e3, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    main()
