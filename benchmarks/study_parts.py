"""What a DICOM study costs, part by part, from files to report and segmentation.

Each round is a process of its own, so that every import and every first call is paid for. The
study is read beside the loading of bundle and models, as ``scanside run`` does it. What loading
costs without it, in a process of its own too, and what the models cost by `scanside bench
--scenario stream` on the same slices as images, are measured in the same way; all else is the rest.
Each line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCANSIDE = [sys.executable, "-m", "scanside"]


def main() -> None:
    """Run the rounds and print a line for each part of the answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a labelled dataset, a folder a patient")
    parser.add_argument("--patient", help="[default: the first one with 28 slices]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")
    parser.add_argument("--child", nargs="*", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(one_round(*arguments.child) if arguments.child else loading_alone()))
        return
    patient = arguments.patient or first_of(arguments.folder, 28)
    with tempfile.TemporaryDirectory() as scratch:
        study = Path(scratch) / "study"
        make = [*SCANSIDE, "data", "to-dicom", arguments.folder, "--patient", patient]
        quietly([*make, "--output", study], check=True)
        rounds, loads = [], []
        for number in range(arguments.rounds + 1):
            rounds.append(child(study, Path(scratch) / f"out{number}"))
            loads.append(child())
        bench = models_alone(arguments.folder / patient, Path(scratch) / "bench.json")
    # The first ones fill the file cache.
    parts = {name: statistics.median(each[name] for each in rounds[1:]) for name in rounds[0]}
    loading = statistics.median(each["load"] for each in loads[1:])
    others = ("imports", "analyse: models")
    rest = statistics.median(each["total"] - sum(each[n] for n in others) for each in rounds[1:])
    slices, segmented = int(parts.pop("slices")), int(parts.pop("segmented"))
    alone = (slices * bench["classify"] + segmented * bench["segment"]) / 1e3
    print(json.dumps({"case": "bench", **bench}))
    print(json.dumps({"case": "parts, seconds, median", **rounded(parts)}))
    print(
        json.dumps(
            {
                "case": "summary",
                "patient": patient,
                "slices": slices,
                "segmented": segmented,
                "models / scanside bench": round(parts["models"] / alone, 3),
                "load bundle and models alone, seconds": round(loading, 3),
                "rest, seconds": round(rest - loading, 3),
            }
        )
    )


def child(*places: Path) -> dict[str, float]:
    """Do a round in a process of its own; without places, load bundle and models alone."""
    done = subprocess.run(
        [sys.executable, __file__, ".", "--child", *places], check=True, stdout=subprocess.PIPE
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def quietly(command: list[str | Path], *, check: bool) -> None:
    """Run a command whose output nobody needs."""
    sink = subprocess.DEVNULL
    subprocess.run(command, check=check, stdout=sink, stderr=sink)


def rounded(parts: dict[str, float]) -> dict[str, float]:
    """Round to milliseconds."""
    return {name: round(value, 3) for name, value in parts.items()}


def first_of(folder: Path, slices: int) -> str:
    """Return the first patient with so many slices."""
    from scanside.evaluation.dataset import index_dataset

    counts: dict[str, int] = {}
    for each in index_dataset(folder).slices:
        counts[each.patient] = counts.get(each.patient, 0) + 1
    return next(patient for patient, count in sorted(counts.items()) if count == slices)


def models_alone(folder: Path, file: Path) -> dict[str, float]:
    """Return what a call of each model costs on these slices, in milliseconds."""
    command: list[str | Path] = [
        *SCANSIDE,
        "bench",
        "--scenario",
        "stream",
        "--backend",
        "cpu",
        "--data",
        folder,
    ]
    # An INVALID measurement is written too; whether it is one is among what is returned.
    quietly([*command, "--json", file], check=False)
    found = json.loads(file.read_bytes())
    stages = found["groups"]["mix"]["stages"]
    return {
        "classify": stages["classify"]["mean"],
        "segment": stages["segment"]["mean"],
        "valid": found["verdict"]["valid"],
    }


def loading_alone() -> dict[str, float]:
    """Time what a run does before its first slice if there is no study to read."""
    from scanside.bundle import open_bundle
    from scanside.pipeline import Pipeline

    start = time.perf_counter()
    Pipeline.open(open_bundle(), backend="cpu", streaming=True)
    return {"load": time.perf_counter() - start}


def one_round(study: Path, output: Path) -> dict[str, float]:
    """Do what ``scanside run STUDY --output OUTPUT`` does, and time its parts."""
    clock = time.perf_counter
    marks = [clock()]
    from concurrent.futures import ThreadPoolExecutor

    from scanside.bundle import open_bundle
    from scanside.cli.loading import uncollected
    from scanside.cli.results import ResultOptions, StudyWriter
    from scanside.cli.studies import analyse_studies, file_stem, read_studies
    from scanside.cli.studyoptions import StudyOptions
    from scanside.pipeline import Pipeline
    from scanside.readers.discover import discover
    from scanside.writers.files import OutputFolder
    from scanside.writers.records import record_writer
    from scanside.writers.studyfiles import preload

    marks.append(clock())
    options, folder = StudyOptions(), OutputFolder(output)
    with uncollected(), ThreadPoolExecutor(1) as reader:
        reader.submit(preload, {"dicom"})
        reading = reader.submit(
            lambda: (clock(), read_studies(discover([study], studies=True).studies, options),
                     clock())
        )  # fmt: skip
        bundle = open_bundle()
        pipeline = Pipeline.open(bundle, backend="cpu", streaming=True)
        marks.append(clock())
        begun, read, ended = reading.result()
    marks.append(clock())
    writer = StudyWriter(ResultOptions(), folder, read.chosen.kinds, options.settings)
    with folder.open_results() as lines:
        records = record_writer("jsonl", lines, name="results")
        ((number, findings),) = analyse_studies(
            read,
            pipeline,
            output=folder,
            stop=lambda: False,
            seen=lambda _, analysed: records.write(analysed.record),
        )
    marks.append(clock())
    writer.write(findings, file_stem(number), bundle, pipeline)
    marks.append(clock())
    names = ("imports", "load", "wait for the study", "analyse", "write")
    parts = {name: b - a for name, a, b in zip(names, marks, marks[1:], strict=False)}
    spent = [each.timings_ms for each in findings.records]
    models = sum(each["classify"] + each.get("segment", 0.0) for each in spent) / 1e3
    # Lanes work side by side: what their models take together, and their share of the time.
    share = min(models / pipeline.backend.lanes, parts["analyse"])
    return {
        **parts,
        "analyse: models": share,
        "analyse: records and pictures": parts["analyse"] - share,
        "read the study, beside loading": ended - begun,
        "models": models,
        "total": marks[-1] - marks[0],
        "slices": len(findings.records),
        "segmented": sum(each.segmented for each in findings.records),
    }


if __name__ == "__main__":
    main()
