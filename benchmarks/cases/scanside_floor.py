"""The floor of scanside's throughput: the bare models in its lanes, through the same gate.

No file, no picture, no record: prepared slices, as many classified at once as there, the two
models, one comparison. Options:
``bundle``, ``backend``, ``precision``.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cases.common import read
from peerbench.protocol import emit, read_job
from scanside import Pipeline, open_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def main() -> None:
    """Run the case."""
    job = read_job()
    images = [read(Path(name)) for name in job.files]
    with Pipeline.open(
        open_bundle(job.options["bundle"]),
        backend=job.options["backend"],
        precision=job.options["precision"],  # type: ignore[arg-type]
        streaming=True,
    ) as pipeline:
        backend = pipeline.backend

        def both(group: NDArray[np.uint8]) -> int:
            passed = backend.classify(group)[:, 0] >= job.gate
            for image in group[passed]:
                backend.segment(image[np.newaxis])
            return int(np.count_nonzero(passed))

        def grouped(chosen: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
            size = backend.micro_batch
            return [np.stack(chosen[at : at + size]) for at in range(0, len(chosen), size)]

        with ThreadPoolExecutor(backend.lanes) as pool:
            list(pool.map(both, grouped([images[index] for index in job.warm_up])))
            groups = grouped(images)
            started = time.perf_counter()
            segmented = sum(pool.map(both, groups))
            seconds = time.perf_counter() - started
        emit(
            "stream",
            slices=len(images),
            seconds=seconds,
            slices_per_second=len(images) / seconds,
            segmented=segmented,
            lanes=backend.lanes,
        )


if __name__ == "__main__":
    main()
