"""scanside's own latency path: `Pipeline.analyse` in this process, and what it adds to the models.

The time inside the libraries' own calls is taken at those calls, within the same samples: what a
slice needs beyond them is scanside's share. In between, what the machine itself does to a thing of
a few milliseconds is measured: bytes are hashed on every core at once. Options: ``bundle``,
``backend``, ``precision``.
"""

from __future__ import annotations

import functools
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cases.common import read
from peerbench.protocol import emit, read_job, since_start
from scanside import Pipeline, open_bundle
from scanside.backends.cores import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from peerbench.protocol import Job


_HASHED: Final = bytes(1 << 23)
"""Some 5 ms of work in the second-level cache's reach, outside the interpreter's lock."""


class Clock:
    """Sum of the time inside the libraries' calls since it was last asked.

    Attributes
    ----------
    calls
        Milliseconds of each call since `take`.
    """

    def __init__(self) -> None:
        self.calls: list[float] = []

    def around(self, owner: Any, name: str) -> None:  # noqa: ANN401 - a library's class
        """Time every call of a method of a class."""
        inner: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the library takes
            started = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.calls.append((time.perf_counter() - started) * 1e3)

        setattr(owner, name, timed)

    def take(self) -> list[float]:
        """Return the calls so far and forget them."""
        calls, self.calls = self.calls, []
        return calls


def main() -> None:
    """Run the case."""
    job = read_job()
    clock = Clock()
    if job.options["backend"] == "openvino":
        import openvino

        clock.around(openvino.InferRequest, "infer")
    else:
        import onnxruntime

        clock.around(onnxruntime.InferenceSession, "run")
    bundle = open_bundle(job.options["bundle"])
    with Pipeline.open(
        bundle,
        backend=job.options["backend"],
        precision=job.options["precision"],  # type: ignore[arg-type]
    ) as pipeline:
        pipeline.analyse(read(Path(job.files[0])))
        emit("first", seconds=since_start())
        emit("facts", **pipeline.backend.describe())
        for index in job.warm_up:
            pipeline.analyse(read(Path(job.files[index])))
        emit("latency", **_latency(job, pipeline, clock))


def _latency(job: Job, pipeline: Pipeline, clock: Clock) -> dict[str, list[float]]:
    images = {index: read(Path(job.files[index])) for index in set(job.latency)}
    times: dict[str, list[float]] = {
        f"{way}_{what}_ms": []
        for way in ("segmented", "skipped")
        for what in ("bare_classify", "bare_segment", "beyond")
    }
    times |= {"segmented_ms": [], "skipped_ms": [], "machine_ms": []}
    clock.take()
    cores = usable_cores()
    with ThreadPoolExecutor(cores) as pool:
        for turn, index in enumerate(job.latency):
            _sample(images[index], pipeline, clock, times)
            if turn % 2:
                started = time.perf_counter()
                list(pool.map(lambda _: hashlib.sha256(_HASHED).digest(), range(cores)))
                times["machine_ms"].append((time.perf_counter() - started) * 1e3)
    return times


def _sample(
    image: NDArray[np.uint8], pipeline: Pipeline, clock: Clock, times: dict[str, list[float]]
) -> None:
    started = time.perf_counter()
    result = pipeline.analyse(image)
    spent = (time.perf_counter() - started) * 1e3
    calls = clock.take()
    if len(calls) != 1 + result.segmented:
        raise SystemExit(
            f"{len(calls)} calls of the library were seen where {1 + result.segmented} were"
            " due: the time beyond them can't be told"
        )
    way = "segmented" if result.segmented else "skipped"
    times[f"{way}_ms"].append(spent)
    times[f"{way}_beyond_ms"].append(spent - sum(calls))
    times[f"{way}_bare_classify_ms"].append(calls[0])
    times[f"{way}_bare_segment_ms"] += calls[1:]


if __name__ == "__main__":
    main()
