"""Many studies through a node, one after the other: does it hold still, and answer in time.

::

    python tests/campaigns/node_soak.py --output FOLDER --backend null --studies 2000
    python tests/campaigns/node_soak.py --output FOLDER --backend auto --studies 100

Studies of 28 slices in three series are sent over two associations, each with UIDs of its own; the
results go to Orthanc. Memory and descriptors are read every ten seconds, the time from the request
to the answer of every object is taken. Exit code 1 if memory or descriptors grow, if something is
lost, or if the 99th percentile of the answers is beyond 50 ms.

::

    python tests/campaigns/node_soak.py --output FOLDER --one-by-one --studies 10

sends a study when the one before is done, and adds what a study alone takes, by part, from its last
object less the quiet time to its report in Orthanc.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
import threading
import time
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context

from node.place import NodeProcess, Orthanc, make_studies, rss_and_descriptors

_EVERY: Final = 10.0
_QUIET: Final = 1.0
_SENDERS: Final = 2
_GROWTH_MB, _GROWTH_DESCRIPTORS = 40.0, 8
"""From the first fifth of the time to its last."""


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--slices", type=int, default=28)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    found = soak(
        options.output,
        studies=options.studies,
        slices=options.slices,
        backend=options.backend,
        one_by_one=options.one_by_one,
    )
    print(json.dumps(found))
    return 0 if found["passed"] else 1


def soak(
    output: Path, *, studies: int, slices: int, backend: str, one_by_one: bool
) -> dict[str, Any]:
    """Run a campaign of a given size; return its figures."""
    for name in ("node", "orthanc"):
        shutil.rmtree(output / name, ignore_errors=True)
    folders = make_studies(output, 4, slices)
    patterns = [
        [dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        for folder in folders
    ]
    orthanc = Orthanc(output / "orthanc")
    node = NodeProcess(output / "node", pacs=orthanc.port, backend=backend, quiet=_QUIET)
    orthanc.start()
    node.start()
    answers: list[float] = []
    refused: list[int] = []
    samples: list[tuple[float, int]] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(node, samples, stop))
    number = 1 if one_by_one else _SENDERS
    senders = [
        threading.Thread(
            target=_send,
            args=(node, patterns, range(n, studies, number), answers, refused),
            kwargs={"wait": one_by_one},
        )
        for n in range(number)
    ]
    started = time.monotonic()
    try:
        watcher.start()
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        status = node.wait_idle(3600)
        seconds = time.monotonic() - started
        stop.set()
        watcher.join()
        code = node.stop()
        kept = orthanc.get("/statistics")["CountStudies"]
    finally:
        stop.set()
        node.kill()
        orthanc.stop()
    p50, p99 = np.percentile(np.array(answers) * 1e3, [50, 99])
    growth = _growth(samples)
    made = sum(status["results"].values())
    passed = (
        not refused
        and made == studies == kept
        and not status["superseded"]
        and growth[0] < _GROWTH_MB
        and growth[1] <= _GROWTH_DESCRIPTORS
        and p99 < 50
        and code == 0
    )
    return {
        "studies": studies,
        "objects": len(answers),
        "seconds": round(seconds, 1),
        "answer_ms": {"p50": round(p50, 2), "p99": round(p99, 2)},
        "rss_mb": [round(rss, 1) for rss, _ in samples],
        "descriptors": [descriptors for _, descriptors in samples],
        "growth": growth,
        "results": status["results"],
        "superseded": status["superseded"],
        **({"parts_s": _parts(node)} if one_by_one else {}),
        "passed": bool(passed),
    }


def _parts(node: NodeProcess) -> dict[str, float]:
    """Return the medians of what a study takes, seconds by part."""
    spool = node.folder / "spool"
    lines = [json.loads(line) for line in (spool / "audit.jsonl").read_text().splitlines()]
    found = [line["seconds"] for line in lines if line["event"] == "study finished"]
    parts = {name: float(np.median([each[name] for each in found])) for name in found[0]}
    with closing(sqlite3.connect(spool / "spool.sqlite")) as connection:
        rows = connection.execute(
            "SELECT created - last_received, max(delivered) - created FROM result"
            " JOIN object ON result_id = result.id JOIN delivery ON object_id = object.id"
            " GROUP BY result.id"
        ).fetchall()
    to_result, to_delivery = np.median(np.array(rows), axis=0)
    parts["from the quiet time's end to the result"] = float(to_result) - _QUIET
    parts["from the result to its delivery"] = float(to_delivery)
    return {name: round(seconds, 3) for name, seconds in parts.items()}


def _send(
    node: NodeProcess,
    patterns: list[list[Dataset]],
    numbers: range,
    answers: list[float],
    refused: list[int],
    *,
    wait: bool,
) -> None:
    contexts = [build_context(MRImageStorage, [ExplicitVRLittleEndian])]
    for number in numbers:
        association = AE("SCANNER").associate(
            "127.0.0.1", node.port, contexts=contexts, ae_title="SCANSIDE"
        )
        for dataset in patterns[number % len(patterns)]:
            renamed = _renamed(dataset, number)
            started = time.perf_counter()
            answer = association.send_c_store(renamed)
            answers.append(time.perf_counter() - started)
            if "Status" not in answer or answer.Status != 0:
                refused.append(number)
        association.release()
        if wait:
            node.wait_idle(300)


def _renamed(dataset: Dataset, number: int) -> Dataset:
    """Return the object as one of a study of its own."""
    renamed = deepcopy(dataset)
    for keyword in (
        "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"
    ):  # fmt: skip
        if keyword in renamed:
            uid = f"{getattr(dataset, keyword)[:55]}.{number}"
            setattr(renamed, keyword, uid)
    renamed.file_meta.MediaStorageSOPInstanceUID = renamed.SOPInstanceUID
    return renamed


def _watch(node: NodeProcess, samples: list[tuple[float, int]], stop: threading.Event) -> None:
    while not stop.wait(_EVERY):
        if node.process is not None:
            samples.append(rss_and_descriptors(node.process.pid))


def _growth(samples: list[tuple[float, int]]) -> tuple[float, float]:
    """Return by how much the last fifth's medians are above the first's."""
    share = max(1, len(samples) // 5)
    first, last = np.array(samples[:share]), np.array(samples[-share:])
    if not len(samples):
        return 0.0, 0.0
    rss, descriptors = np.median(last, axis=0) - np.median(first, axis=0)
    return round(float(rss), 1), float(descriptors)


if __name__ == "__main__":
    sys.exit(main())
