"""What the way through the C library costs, beside the same work in this process.

::

    python benchmarks/embedding.py FOLDER

Overheads are measured with the null backend (instant answers, frames and masks of real size), over
shared memory and over the pipe. Then the real models: the time from `scanside_open` to the first
result, and slices a second of `--streaming` through the library and of `scanside.lanes` on the same
frames in this process, in rounds by turns as in `serve_bench.py`. One line of JSON a figure; the
machine should be quiet. The library is built by `make -C runtime/c`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import numpy as np

from serve_bench import SIDE, compared, in_process, percentiles, print_figure, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY: Final = Path(__file__).resolve().parents[1] / "runtime" / "c"


def main() -> None:
    """Run the cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of 8-bit slices of 256 x 256 x 3")
    parser.add_argument("--slices", type=int, default=256, help="frames taken from it")
    parser.add_argument("--requests", type=int, default=5000, help="of the null backend")
    parser.add_argument("--rounds", type=int, default=15, help="pairs; and starts")
    parser.add_argument("--backend", default="cpu", help="of the real models [default: cpu]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bench = _built(Path(temporary))
        server = _server(Path(temporary))
        null = ("--requests", arguments.requests, server, "--backend", "null")
        print_figure(_said(bench, *null))
        print_figure(_said(bench, "--pipe", *null))
        frames = read_frames(arguments.folder, arguments.slices)
        written = Path(temporary, "frames.raw")
        written.write_bytes(np.concatenate(frames).tobytes())
        real = ("--frames", written, SIDE, SIDE, server, "--backend", arguments.backend)
        starts = [_said(bench, "--requests", 1, *real) for _ in range(arguments.rounds + 1)]
        # The first one may have read from a cold disk.
        took = percentiles([start["first_result_ms"] for start in starts[1:]])
        print_figure({"figure": "scanside_open to first result", "ms": took})
        through = _through_library([bench, "--paced", "--requests", len(frames), *real])
        inside = in_process(frames, arguments.backend)
        print_figure(compared(inside, through, arguments.rounds))


def _through_library(words: list[object]) -> Iterator[float]:
    """Yield slices a second of the same library and server, a round at each line that it gets."""
    words = [*words, "--streaming"]
    with subprocess.Popen(
        [str(word) for word in words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as bench:  # fmt: skip
        asked, told = cast("IO[bytes]", bench.stdin), cast("IO[bytes]", bench.stdout)
        while True:
            asked.write(b"\n")
            asked.flush()
            yield float(told.readline())


def _built(folder: Path) -> Path:
    """Build `runtime/c/bench.c`."""
    bench = folder / "bench"
    subprocess.run(["make", "-s", "-C", LIBRARY, f"BUILD={folder}", bench], check=True)
    return bench


def _server(folder: Path) -> Path:
    """Write an executable that is this scanside."""
    script = folder / "scanside"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m scanside "$@"\n')
    script.chmod(0o700)
    return script


def _said(*words: object) -> Any:  # noqa: ANN401 - JSON
    """Run a program and return the JSON that it prints."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
