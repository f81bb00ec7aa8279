"""Keras ``predict``, two stages, as the usual notebook does it.

Option ``batch``: 1 goes slice by slice; more reads all slices, predicts them at this batch size,
and then predicts the masks of those that the gate lets through.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cases.common import Found, measure, read, two_stages
from peerbench.protocol import read_job

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    """Run the case."""
    import keras

    job = read_job()
    batch = int(job.options["batch"])
    classifier = keras.models.load_model(job.classifier, compile=False)
    segmenter = keras.models.load_model(job.segmenter, compile=False)

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return classifier.predict(images, batch_size=batch, verbose=0)  # type: ignore[no-any-return]

    def segment(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return segmenter.predict(images, batch_size=batch, verbose=0)  # type: ignore[no-any-return]

    def everything(
        files: Iterable[Path],
    ) -> Iterator[tuple[Path, NDArray[np.uint8], Found]]:
        paths = list(files)
        images = np.stack([read(path) for path in paths])
        probability = classify(images)[:, 0]
        chosen = np.flatnonzero(probability >= job.gate)
        planes = segment(images[chosen]) if chosen.size else np.empty((0, *images.shape[1:3]))
        masks = {
            int(at): (plane >= job.mask).astype(np.uint8)
            for at, plane in zip(chosen, planes, strict=True)
        }
        for at, path in enumerate(paths):
            yield path, images[at], Found(float(probability[at]), masks.get(at))

    analyse = two_stages(classify, segment, job)
    if batch > 1:
        # A function is traced for each shape: the shapes of the stream belong to the warm-up.
        warm = np.stack([read(Path(job.files[0]))] * batch)
        classify(warm)
        segment(warm)
    measure(job, analyse, everything if batch > 1 else None)


if __name__ == "__main__":
    main()
