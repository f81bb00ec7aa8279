"""What the way through the C library costs, beside the same work in this process.

::

    python benchmarks/embedding.py FOLDER

Overheads are measured with the null backend (instant answers, frames and masks of real size), over
shared memory and over the pipe. Then the real models: slices a second of `bench --streaming`
through the library against `scanside.lanes` on the same frames in one process, both in interleaved
rounds, and the time from `scanside_open` to the first result. Each case is a process of its own;
each line of the output is one JSON object. The library is built by `make -C runtime/c`.
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
from typing import TYPE_CHECKING, Any

import numpy as np

from scanside import Pipeline, open_bundle
from scanside.lanes import Read, analyse
from scanside.pipeline import prepare
from scanside.preprocess import CHANNELS, SIDE
from scanside.readers.discover import discover
from scanside.readers.image import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LIBRARY = Path(__file__).resolve().parents[1] / "runtime" / "c"
FRAME = (SIDE, SIDE, len(CHANNELS))


def main() -> None:
    """Run the cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of slices")
    parser.add_argument("--slices", type=int, default=256, help="frames taken from it")
    parser.add_argument("--requests", type=int, default=5000, help="of the null backend")
    parser.add_argument("--rounds", type=int, default=3, help="of the real models")
    parser.add_argument("--backend", default="cpu", help="of the real models [default: cpu]")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        print(json.dumps(in_process(np.fromfile(arguments.folder, np.uint8), arguments.backend)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        bench = built(Path(temporary))
        frames = Path(temporary, "frames.raw")
        count = write_frames(arguments.folder, arguments.slices, frames)
        null = ("--requests", arguments.requests, server(Path(temporary)), "--backend", "null")
        print(json.dumps(said(bench, *null)), flush=True)
        print(json.dumps(said(bench, "--pipe", *null)), flush=True)
        compare(arguments, bench, frames, count, Path(temporary))


def compare(
    arguments: argparse.Namespace, bench: Path, frames: Path, count: int, temporary: Path
) -> None:
    """Run the real models through the library and in one process, by turns."""
    through = [
        "--requests", count, "--frames", frames, *FRAME[:2], server(temporary),
        "--backend", arguments.backend,
    ]  # fmt: skip
    here = [sys.executable, __file__, frames, "--in-process", "--backend", arguments.backend]
    print(json.dumps(said(bench, *through)), flush=True)  # the least time for one slice
    rates: dict[str, list[float]] = {"library": [], "in_process": []}
    for _ in range(arguments.rounds):
        rates["library"].append(said(bench, *through, "--streaming")["slices_per_second"])
        rates["in_process"].append(said(*here)["slices_per_second"])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = medians["library"] / medians["in_process"]
    print(json.dumps({"slices_per_second": rates, "ratio_of_medians": round(ratio, 3)}))


def in_process(pixels: NDArray[np.uint8], backend: str) -> dict[str, Any]:
    """Slices a second of the streaming path on frames in memory."""
    frames = pixels.reshape(-1, *FRAME)

    def prepared(slices: NDArray[np.uint8]) -> Iterator[Read]:
        for n, frame in enumerate(slices):
            yield Read(f"{n}", n, "bench", frame, prepared=prepare(frame))

    with Pipeline.open(open_bundle(), backend=backend, streaming=True) as pipeline:
        for _ in analyse(prepared(frames[: len(frames) // 4]), pipeline):
            pass
        started = time.perf_counter()
        for _ in analyse(prepared(frames), pipeline):
            pass
        seconds = time.perf_counter() - started
    return {"slices_per_second": round(len(frames) / seconds, 1)}


def write_frames(folder: Path, count: int, destination: Path) -> int:
    """Write slices from all over a folder, one after the other; how many there are."""
    files = discover([folder]).files
    with destination.open("wb") as out:
        for file in files[:: max(1, len(files) // count)][:count]:
            pixels = next(read_file(file)).pixels
            if pixels.shape != FRAME or pixels.dtype != np.uint8:
                raise SystemExit(f"{file}: not an 8-bit slice of {SIDE} x {SIDE} x 3")
            out.write(pixels.tobytes())
    return destination.stat().st_size // int(np.prod(FRAME))


def built(folder: Path) -> Path:
    """Build `runtime/c/bench.c`."""
    bench = folder / "bench"
    subprocess.run(["make", "-s", "-C", LIBRARY, f"BUILD={folder}", bench], check=True)
    return bench


def server(folder: Path) -> Path:
    """Write an executable that is this scanside."""
    script = folder / "scanside"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m scanside "$@"\n')
    script.chmod(0o700)
    return script


def said(*words: object) -> Any:  # noqa: ANN401 - JSON
    """Run a program and return the JSON that it prints."""
    done = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
