"""Many studies through a node, one after the other: does it hold still, and answer in time.

::

    python benchmarks/node_soak.py --output FOLDER --backend null --studies 2000
    python benchmarks/node_soak.py --output FOLDER --backend auto --studies 100

Studies of 28 slices in three series are sent over two associations, each with UIDs of its own; the
results go to Orthanc. Memory and descriptors are read every ten seconds, the time from the request
to the answer of every object is taken. Exit code 1 if memory or descriptors grow, if something is
lost, or if the 99th percentile of the answers is beyond 50 ms.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context

from node.place import NodeProcess, Orthanc, make_studies, rss_and_descriptors

_EVERY: Final = 10.0
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
    options = parser.parse_args()
    found = soak(
        options.output,
        studies=options.studies,
        slices=options.slices,
        backend=options.backend,
    )
    print(json.dumps(found))
    return 0 if found["passed"] else 1


def soak(output: Path, *, studies: int, slices: int, backend: str) -> dict[str, Any]:
    """Run a campaign of a given size; return its figures."""
    for name in ("node", "orthanc"):
        shutil.rmtree(output / name, ignore_errors=True)
    folders = make_studies(output, 4, slices)
    patterns = [
        [dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        for folder in folders
    ]
    orthanc = Orthanc(output / "orthanc")
    node = NodeProcess(output / "node", pacs=orthanc.port, backend=backend, quiet=1.0)
    orthanc.start()
    node.start()
    answers: list[float] = []
    refused = [0] * _SENDERS
    samples: list[tuple[float, int]] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(node, samples, stop))
    senders = [
        threading.Thread(
            target=_send,
            args=(node.port, patterns, range(n, studies, _SENDERS), answers, refused, n),
        )
        for n in range(_SENDERS)
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
        not sum(refused)
        and made == studies == kept
        and not status["superseded"]
        and growth[0] < _GROWTH_MB
        and growth[1] <= _GROWTH_DESCRIPTORS
        and p99 < 50  # noqa: PLR2004 - ms, as the module says
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
        "passed": bool(passed),
    }


def _send(
    port: int,
    patterns: list[list[Dataset]],
    numbers: range,
    answers: list[float],
    refused: list[int],
    sender: int,
) -> None:
    contexts = [build_context(MRImageStorage, [ExplicitVRLittleEndian])]
    for number in numbers:
        association = AE("SCANNER").associate(
            "127.0.0.1", port, contexts=contexts, ae_title="SCANSIDE"
        )
        for dataset in patterns[number % len(patterns)]:
            renamed = _renamed(dataset, number)
            started = time.perf_counter()
            answer = association.send_c_store(renamed)
            answers.append(time.perf_counter() - started)
            refused[sender] += "Status" not in answer or answer.Status != 0
        association.release()


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
