"""A plain ONNX Runtime script: two sessions with default options, the gate between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime

from cases.common import measure, two_stages
from peerbench.protocol import read_job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def main() -> None:
    """Run the case."""
    job = read_job()
    classifier = onnxruntime.InferenceSession(job.classifier, providers=["CPUExecutionProvider"])
    segmenter = onnxruntime.InferenceSession(job.segmenter, providers=["CPUExecutionProvider"])

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return classifier.run(None, {"image": images})[0]  # type: ignore[no-any-return]

    def segment(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return segmenter.run(None, {"image": images})[0]  # type: ignore[no-any-return]

    measure(job, two_stages(classify, segment, job))


if __name__ == "__main__":
    main()
