"""What the way through `scanside serve` costs a client in Python, beside the same work in process.

::

    make bench-serve DATA=FOLDER    # this and benchmarks/embedding.py, the same through C

The round trip of one 256 x 256 x 3 frame and its mask with the null backend, over shared memory and
over the pipe; the time from the start of the server to the first result with real models; and
slices a second with real models, in rounds by turns with the same slices in process. The ratio of
each pair is taken before the median, so that what disturbs the machine disturbs both sides. One
line of JSON a figure; the machine should be quiet.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside import Pipeline, open_bundle
from scanside.golden import read_golden
from scanside.lanes import Read, analyse
from scanside.pipeline import prepare
from scanside.readers.discover import discover
from scanside.readers.image import read_file
from scanside.serve.client import spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["SIDE", "compared", "in_process", "percentiles", "print_figure", "read_frames"]

SIDE: Final = 256
_NULL: Final = ("--backend", "null")


def main() -> int:
    """Measure, and print each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="slices; without it the golden ones")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--requests", type=int, default=3000, help="round trips")
    parser.add_argument("--rounds", type=int, default=15, help="pairs; and starts")
    parser.add_argument("--slices", type=int, default=192, help="slices of a round")
    options = parser.parse_args()
    for pipes in (False, True):
        print_figure(_round_trip(options.requests, pipes=pipes))
    frames = read_frames(options.data, options.slices)
    print_figure(_start(options.backend, frames[0], options.rounds))
    through = _through_serve(frames, options.backend)
    print_figure(compared(in_process(frames, options.backend), through, options.rounds))
    return 0


def print_figure(figure: dict[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps(figure), flush=True)


def _round_trip(requests: int, *, pipes: bool) -> dict[str, Any]:
    frame = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    took = []
    with spawn(*_NULL, pipes=pipes, stderr=subprocess.DEVNULL) as client:
        for _ in range(requests + requests // 10):
            started = time.perf_counter()
            client.infer(frame)
            took.append((time.perf_counter() - started) * 1e6)
    return {
        "figure": "round trip",
        "transport": "pipe" if pipes else "shared memory",
        "us": percentiles(took[requests // 10 :]),
    }


def _start(backend: str, frame: NDArray[np.uint8], rounds: int) -> dict[str, Any]:
    took = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        with spawn("--backend", backend, stderr=subprocess.DEVNULL) as client:
            client.infer(frame)
            took.append((time.perf_counter() - started) * 1e3)
    # The first one may have read from a cold disk, and measured which backend is faster.
    return {"figure": "start to first result", "ms": percentiles(took[1:])}


def compared(inside: Iterator[float], outside: Iterator[float], rounds: int) -> dict[str, Any]:
    """Take slices a second both ways by turns; each first round is not counted."""
    pairs = np.array([(next(inside), next(outside)) for _ in range(rounds + 1)])[1:]
    ratios = pairs[:, 1] / pairs[:, 0]
    return {
        "figure": "streaming",
        "in_process": round(float(np.median(pairs[:, 0])), 1),
        "through_serve": round(float(np.median(pairs[:, 1])), 1),
        "ratio": round(float(np.median(ratios)), 3),
        "quartiles": [round(float(q), 3) for q in np.percentile(ratios, (25, 75))],
        "pairs": rounds,
    }


def in_process(frames: list[NDArray[np.uint8]], backend: str) -> Iterator[float]:
    """Yield slices a second of the streaming path, reading left out."""
    with Pipeline.open(open_bundle(), backend=backend, streaming=True) as pipeline:
        while True:
            started = time.perf_counter()
            slices = (
                Read("", n, "", pixels=frame, prepared=prepare(frame))
                for n, frame in enumerate(frames)
            )
            done = sum(1 for _ in analyse(slices, pipeline))
            yield done / (time.perf_counter() - started)


def _through_serve(frames: list[NDArray[np.uint8]], backend: str) -> Iterator[float]:
    """Yield slices a second with as many in flight as HELLO advises."""
    options = ("--streaming", "--backend", backend)
    with spawn(*options, stderr=subprocess.DEVNULL) as client:
        depth = min(client.hello.queue_depth, client.hello.max_in_flight)
        while True:
            started = time.perf_counter()
            for n, frame in enumerate(frames):
                if n >= depth:
                    client.wait()
                client.submit(frame)
            while client.in_flight:
                client.wait()
            yield len(frames) / (time.perf_counter() - started)


def read_frames(data: Path | None, count: int) -> list[NDArray[np.uint8]]:
    """Return frames of 256 x 256: golden ones by turns, or slices from all over a folder."""
    if data is None:
        golden = read_golden(open_bundle()).images
        return [golden[n % len(golden)] for n in range(count)]
    files = discover([data]).files
    slices = (next(read_file(file)).pixels for file in files[:: max(1, len(files) // count)])
    return [np.ascontiguousarray(pixels, np.uint8) for pixels in slices][:count]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return percentiles by name."""
    names = {"p50": 50, "p90": 90, "p99": 99}
    return {name: round(float(np.percentile(values, q)), 1) for name, q in names.items()}


if __name__ == "__main__":
    sys.exit(main())
