"""Keras ``predict`` of the models that the usual notebook has, bare: no file is read or written.

ResNet-50 on the whole 256 x 256 slice and a ResUNet of 16 to 256 filters at full resolution: what
one would train with nothing but accuracy in mind. The bundle's models are cheaper; the other
cases all run those. Weights are random, for they change no time. Option ``batch``.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cases.common import read
from peerbench.protocol import emit, read_job

if TYPE_CHECKING:
    from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_FILTERS: Final = (16, 32, 64, 128, 256)
"""Of the ResUNet's stages: 2 million parameters."""

_REPEATS: Final = 5


def main() -> None:
    """Run the case."""
    from scanside_training.models.resnet50 import build_classifier
    from scanside_training.models.resunet import build_segmenter

    job = read_job()
    batch = int(job.options["batch"])
    images = np.stack([read(Path(file)) for file in job.files[: 2 * batch]])
    models = {
        "classifier": build_classifier().inference,
        "segmenter": build_segmenter(filters=_FILTERS, stem_stride=1).inference,
    }
    emit(
        "bare",
        ms={role: _per_slice(model, images, batch) for role, model in models.items()},
        macs={role: count_macs(model) for role, model in models.items()},
    )


def _per_slice(model: Any, images: NDArray[np.uint8], batch: int) -> float:  # noqa: ANN401 - Keras
    """Return the median milliseconds a slice, behind one prediction that compiles the function."""
    model.predict(images, batch_size=batch, verbose=0)
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        model.predict(images, batch_size=batch, verbose=0)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e3 / len(images)


def count_macs(model: Any) -> int:  # noqa: ANN401 - a Keras model
    """Return the multiply-accumulates of a slice in convolutions and dense layers."""
    return sum(
        int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:-1]))
        for layer in model.layers
        if hasattr(layer, "kernel")
    )


if __name__ == "__main__":
    main()
