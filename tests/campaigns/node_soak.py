"""Many studies through a node, one after the other: does it hold still, and answer in time.

::

    python tests/campaigns/node_soak.py --output FOLDER --backend null --studies 2000
    python tests/campaigns/node_soak.py --output FOLDER --backend auto --studies 100

Studies of 28 slices in three series, 84 objects, are sent over two associations by two processes,
each study with UIDs of its own; the results go to Orthanc, and what is finished is purged after a
minute. Memory and descriptors of the one process of the node are read every ten seconds, the time
from the request to the answer of every object is taken. Exit code 1 if memory or descriptors grow,
if something is lost or there twice, or if the 99th percentile of the answers is beyond 50 ms.

The studies are sent in pieces (``--piece 200``), and the node waits, idle, between two of them:
``--through CMD`` starts each piece by a command, such as one that waits until nobody measures.

::

    python tests/campaigns/node_soak.py --output FOLDER --one-by-one --studies 10

sends a study when the one before is done, and adds what a study alone takes, by part, from its last
object less the quiet time to its report in Orthanc.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from node.place import NodeProcess, Orthanc, make_studies, rss_and_descriptors

if TYPE_CHECKING:
    from collections.abc import Sequence

_EVERY: Final = 10.0
_QUIET: Final = 1.0
_SENDERS: Final = 2
_KEEP_HOURS: Final = 0.02
_GROWTH_MB, _GROWTH_DESCRIPTORS = 40.0, 8
"""From the first fifth of the time to its last."""


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--slices", type=int, default=28)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--piece", type=int, default=200)
    parser.add_argument("--through", type=shlex.split, default=[])
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    found = soak(
        options.output,
        Size(options.studies, options.slices, options.piece),
        backend=options.backend,
        through=options.through,
        one_by_one=options.one_by_one,
    )
    print(json.dumps(found))
    return 0 if found["passed"] else 1


class Size(NamedTuple):
    """Numbers of studies, of slices of each of their series, and of studies sent in one piece."""

    studies: int
    slices: int
    piece: int


def soak(
    output: Path,
    size: Size,
    *,
    backend: str,
    through: Sequence[str] = (),
    one_by_one: bool = False,
) -> dict[str, Any]:
    """Run a campaign of a given size; return its figures."""
    for name in ("node", "orthanc"):
        shutil.rmtree(output / name, ignore_errors=True)
    make_studies(output, 4, size.slices)
    orthanc = Orthanc(output / "orthanc")
    node = NodeProcess(
        output / "node",
        pacs=orthanc.port,
        backend=backend,
        quiet=_QUIET,
        keep_hours=24 if one_by_one else _KEEP_HOURS,
    )
    orthanc.start()
    node.start()
    samples: list[tuple[float, int]] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(node, samples, stop))
    started = time.monotonic()
    pieces = []
    try:
        watcher.start()
        for first in range(0, size.studies, size.piece):
            extent = (first, min(size.piece, size.studies - first))
            pieces.append(_send(output, node, extent, through, one_by_one=one_by_one))
            print(_told(first, pieces[-1], samples), file=sys.stderr, flush=True)
        status = node.wait_idle(60)
        seconds = time.monotonic() - started
        parts = _parts(node.folder / "spool") if one_by_one else {}
        code = node.stop()
        kept = orthanc.get("/statistics")
    finally:
        stop.set()
        watcher.join()
        node.kill()
        orthanc.stop()
    answers = np.concatenate(pieces)
    p50, p99 = np.percentile(answers * 1e3, [50, 99])
    growth = _growth(samples)
    passed = (
        kept["CountStudies"] == size.studies
        and kept["CountInstances"] == 2 * size.studies  # one report and one segmentation each
        and not status["failed"]
        and growth[0] < _GROWTH_MB
        and growth[1] <= _GROWTH_DESCRIPTORS
        and p99 < 50  # not if one was refused: it is NaN then
        and code == 0
    )
    return {
        "studies": size.studies,
        "objects": len(answers),
        "seconds": round(seconds, 1),
        "answer_ms": {"p50": round(p50, 2), "p99": round(p99, 2)},
        "rss_mb": [round(rss, 1) for rss, _ in samples],
        "descriptors": [descriptors for _, descriptors in samples],
        "growth": growth,
        "spool_gb": round(status["bytes"] / 1e9, 2),
        "orthanc": {name: kept[name] for name in ("CountStudies", "CountInstances")},
        **({"parts_s": parts} if one_by_one else {}),
        "exit_code": code,
        "passed": bool(passed),
    }


def _send(
    output: Path,
    node: NodeProcess,
    extent: tuple[int, int],
    through: list[str],
    *,
    one_by_one: bool,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Send so many studies from a first one on; return the seconds of their answers."""
    answers = output / "answers.npy"
    answers.unlink(missing_ok=True)
    subprocess.run(
        [*through, sys.executable, "-m", "node.scanners", "--spool", node.folder / "spool",
         "--port", str(node.port), "--dicom", output / "dicom", "--answers", answers,
         "--first", str(extent[0]), "--studies", str(extent[1]),
         *(["--senders", "1", "--one-by-one"] if one_by_one else ["--senders", str(_SENDERS)])],
        check=False, cwd=Path(__file__).parent,
    )  # fmt: skip
    found: np.ndarray[Any, np.dtype[np.float64]] = np.load(answers)
    return found


def _told(
    first: int,
    answers: np.ndarray[Any, np.dtype[np.float64]],
    samples: list[tuple[float, int]],
) -> str:
    p50, p99 = np.percentile(answers * 1e3, [50, 99])
    last = f", {samples[-1][0]:.0f} MB, {samples[-1][1]} descriptors" if samples else ""
    return f"from study {first}: {len(answers)} objects, p50 {p50:.1f} ms, p99 {p99:.1f} ms{last}"


def _parts(spool: Path) -> dict[str, float]:
    """Return the medians of what a study takes, seconds by part."""
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


def _watch(node: NodeProcess, samples: list[tuple[float, int]], stop: threading.Event) -> None:
    while not stop.wait(_EVERY):
        if node.process is not None and node.process.poll() is None:
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
