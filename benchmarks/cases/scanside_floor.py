"""The floor of scanside's throughput: the bare models in its lanes, through the same gate.

No file, no picture, no record: prepared slices, the two models, one comparison. Options:
``bundle``, ``backend``, ``precision``.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from cases.common import read
from peerbench.protocol import emit, read_job
from scanside import Pipeline, open_bundle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def main() -> None:
    """Run the case."""
    job = read_job()
    images = [read(Path(name))[None] for name in job.files]
    with Pipeline.open(
        open_bundle(job.options["bundle"]),
        backend=job.options["backend"],
        precision=job.options["precision"],  # type: ignore[arg-type]
        streaming=True,
    ) as pipeline:
        backend = pipeline.backend

        def both(image: NDArray[np.uint8]) -> bool:
            if float(backend.classify(image)[0, 0]) < job.gate:
                return False
            backend.segment(image)
            return True

        with ThreadPoolExecutor(backend.lanes) as pool:
            list(pool.map(both, [images[index] for index in job.warm_up]))
            started = time.perf_counter()
            segmented = sum(pool.map(both, images))
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
