"""What a DICOM study costs, part by part, from files to report and segmentation.

Each round is a process of its own, so that every import and every first call is paid for. Beside
it, `scanside bench --scenario stream` on the same slices as images says what the models alone cost.
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

REST = ("headers", "assemble", "records and pictures", "write")
"""What is neither Python and scanside starting, nor bundle and models loading, nor the models."""


def main() -> None:
    """Run the rounds and print a line for each part of the answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a labelled dataset, a folder a patient")
    parser.add_argument("--patient", help="[default: the first one with 28 slices]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(one_round(*arguments.child)))
        return
    patient = arguments.patient or first_of(arguments.folder, 28)
    with tempfile.TemporaryDirectory() as scratch:
        study = Path(scratch) / "study"
        make = [*SCANSIDE, "data", "to-dicom", arguments.folder, "--patient", patient]
        quietly([*make, "--output", study], check=True)
        rounds = []
        for number in range(arguments.rounds + 1):
            child = [sys.executable, __file__, arguments.folder, "--child", study]
            done = subprocess.run(
                [*child, Path(scratch) / f"out{number}"], check=True, stdout=subprocess.PIPE
            )
            rounds.append(json.loads(done.stdout))
        bench = models_alone(arguments.folder / patient, Path(scratch) / "bench.json")
    kept = rounds[1:]  # the first one fills the file cache
    parts = {name: statistics.median(each[name] for each in kept) for name in kept[0]}
    rest = statistics.median(sum(each[name] for name in REST) for each in kept)
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
                "rest, seconds": round(rest, 3),
            }
        )
    )


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
    command = [*SCANSIDE, "bench", "--scenario", "stream", "--backend", "cpu", "--data", folder]
    # An INVALID measurement is written too; whether it is one is among what is returned.
    quietly([*command, "--json", file], check=False)
    found = json.loads(file.read_bytes())
    stages = found["groups"]["mix"]["stages"]
    return {
        "classify": stages["classify"]["mean"],
        "segment": stages["segment"]["mean"],
        "valid": found["verdict"]["valid"],
    }


def one_round(study: Path, output: Path) -> dict[str, float]:
    """Do what ``scanside run STUDY --output OUTPUT`` does, and time its parts."""
    clock = time.perf_counter
    marks = [clock()]
    from scanside.bundle import open_bundle
    from scanside.cli.results import ResultOptions, StudyWriter
    from scanside.cli.studies import StudyOptions, choose_studies
    from scanside.pipeline import Pipeline
    from scanside.readers.discover import discover
    from scanside.writers.files import OutputFolder
    from scanside.writers.records import record_writer

    marks.append(clock())
    bundle = open_bundle()
    marks.append(clock())
    options, folder = StudyOptions(), OutputFolder(output)
    chosen = choose_studies(discover([study], studies=True).studies, options)
    marks.append(clock())
    writer = StudyWriter(ResultOptions(), folder, chosen.kinds, options.settings)
    pipeline = Pipeline.open(bundle, backend="cpu", streaming=True)
    marks.append(clock())
    from scanside.assembly.assemble import assemble
    from scanside.studyrun import analyse_study

    assembled = assemble(chosen.studies[0])
    marks.append(clock())
    with folder.open_results() as lines:
        records = record_writer("jsonl", lines, name="results")
        findings = analyse_study(
            assembled,
            pipeline,
            pictures="study_1",
            output=folder,
            seen=lambda analysed: records.write(analysed.record),
        )
    marks.append(clock())
    writer.write(findings, "study_1", bundle, pipeline)
    marks.append(clock())
    names = ("imports", "bundle", "headers", "load models", "assemble", "analyse", "write")
    parts = {name: b - a for name, a, b in zip(names, marks, marks[1:], strict=False)}
    spent = [each.timings_ms for each in findings.records]
    models = sum(each["classify"] + each.get("segment", 0.0) for each in spent) / 1e3
    return {
        **parts,
        # Lanes work side by side: what their models take together, and their share of the time.
        "models": models,
        "records and pictures": max(0.0, parts["analyse"] - models / pipeline.backend.lanes),
        "total": marks[-1] - marks[0],
        "slices": len(findings.records),
        "segmented": sum(each.segmented for each in findings.records),
    }


if __name__ == "__main__":
    main()
