"""What all peers share: reading, the two stages, writing, and what is measured.

Decoding, pictures and records are the same functions in every peer. scanside writes the same
pictures, pixel for pixel, with an encoding of its own.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from peerbench.protocol import emit, since_start
from scanside.preprocess import SIDE
from scanside.writers.pictures import draw_overlay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from peerbench.protocol import Job

__all__ = [
    "Analyse",
    "Found",
    "PerThread",
    "Stream",
    "measure",
    "one_by_one",
    "peak_mb",
    "read",
    "two_stages",
]


class Found(NamedTuple):
    """What a case found in one slice.

    Attributes
    ----------
    probability
        The classifier's output.
    mask
        uint8 ``[256, 256]``; none where the gate skipped the segmenter.
    """

    probability: float
    mask: NDArray[np.uint8] | None


Analyse = Callable[["NDArray[np.uint8]"], Found]
"""Analyse one slice, uint8 ``[256, 256, 3]``."""

Stream = Callable[[Iterable[Path]], Iterator[tuple[Path, "NDArray[np.uint8]", Found]]]
"""Read and analyse files, in order."""


def read(path: Path) -> NDArray[np.uint8]:
    """Decode a slice: uint8 ``[256, 256, 3]``, pre-contrast, FLAIR, post-contrast."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape != (SIDE, SIDE, 3):
        raise SystemExit(f"{path}: the peers take 8-bit slices of {SIDE} x {SIDE} only")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def two_stages(
    classify: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    segment: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    job: Job,
) -> Analyse:
    """Return the two stages and the gate between them, for one slice at a time."""

    def analyse(image: NDArray[np.uint8]) -> Found:
        batch = image[np.newaxis]
        probability = float(classify(batch)[0, 0])
        if probability < job.gate:
            return Found(probability, None)
        return Found(probability, (segment(batch)[0] >= job.mask).astype(np.uint8))

    return analyse


def one_by_one(analyse: Analyse, lanes: int = 1) -> Stream:
    """Return the loop that reads and analyses file after file, or several side by side."""

    def work(path: Path) -> tuple[Path, NDArray[np.uint8], Found]:
        image = read(path)
        return path, image, analyse(image)

    def stream(files: Iterable[Path]) -> Iterator[tuple[Path, NDArray[np.uint8], Found]]:
        if lanes == 1:
            yield from map(work, files)
            return
        with ThreadPoolExecutor(lanes) as pool:
            yield from pool.map(work, files)

    return stream


def measure(job: Job, analyse: Analyse, stream: Stream | None = None) -> None:
    """Measure a case and print its lines: first slice, stream, latency.

    Parameters
    ----------
    job
        What to do.
    analyse
        The case, its models loaded.
    stream
        How it goes through files; one by one where none is given.
    """
    files = [Path(name) for name in job.files]
    analyse(read(files[0]))
    emit("first", seconds=since_start())
    for index in job.warm_up:
        analyse(read(files[index]))
    emit("stream", **_stream(files, stream or one_by_one(analyse), Path(job.output)))
    if job.latency:
        emit("latency", **_latency(files, analyse, job.latency))


def _stream(files: list[Path], stream: Stream, output: Path) -> dict[str, float]:
    """Go through all files and write what `scanside run` writes."""
    segmented = positive = 0
    for folder in ("masks", "overlays"):
        (output / folder).mkdir(parents=True)
    started = time.perf_counter()
    with (output / "results.jsonl").open("w") as records:
        for path, image, found in stream(files):
            area = 0 if found.mask is None else int(np.count_nonzero(found.mask))
            segmented += found.mask is not None
            positive += area > 0
            if found.mask is not None and area:
                name = f"{path.parent.name}_{path.stem}"
                cv2.imwrite(str(output / "masks" / f"{name}_mask.png"), found.mask * 255)
                overlay = draw_overlay(image, found.mask)
                cv2.imwrite(str(output / "overlays" / f"{name}_overlay.png"), overlay)
            record = {"source": str(path), "probability": found.probability, "area_px": area}
            records.write(json.dumps(record) + "\n")
    seconds = time.perf_counter() - started
    return {
        "slices": len(files),
        "seconds": seconds,
        "slices_per_second": len(files) / seconds,
        "segmented": segmented,
        "positive": positive,
        "peak_mb": peak_mb(),
    }


def _latency(files: list[Path], analyse: Analyse, indices: Iterable[int]) -> dict[str, list[float]]:
    """Time single slices in memory, by the way that each really took."""
    order = list(indices)
    images = {index: read(files[index]) for index in set(order)}
    times: dict[str, list[float]] = {"segmented_ms": [], "skipped_ms": []}
    for index in order:
        image = images[index]
        started = time.perf_counter()
        found = analyse(image)
        spent = (time.perf_counter() - started) * 1e3
        times["skipped_ms" if found.mask is None else "segmented_ms"].append(spent)
    return times


def peak_mb() -> float:
    """Return this process's peak resident memory so far, in MB of 1024 kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status has no VmHWM: the benchmark needs Linux")


class PerThread:
    """One thing for each thread that asks, for instance an infer request."""

    def __init__(self, make: Callable[[], Callable[..., NDArray[np.float32]]]) -> None:
        self._make = make
        self._held = threading.local()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Call this thread's own."""
        if not hasattr(self._held, "call"):
            self._held.call = self._make()
        result: NDArray[np.float32] = self._held.call(images)
        return result
