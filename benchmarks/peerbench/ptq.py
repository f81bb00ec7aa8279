"""The INT8 peer: NNCF's post-training quantisation of the same float models."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.contract import Precision

__all__ = ["OpenVinoPeer", "post_training_quantise"]

_CONFIG: Final = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
"""What stays float is computed in float32: the guard judges the quantisation alone."""


def post_training_quantise(
    source: Path, destination: Path, images: Sequence[NDArray[np.uint8]]
) -> None:
    """Quantise an ONNX model with NNCF's defaults (fast bias correction) and save it as IR.

    Parameters
    ----------
    source
        The float ONNX model.
    destination
        The ``.xml`` to write, its weights beside it.
    images
        Prepared slices, each ``[1, 256, 256, 3]``.
    """
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(source)
    model.reshape([1, *list(model.inputs[0].get_partial_shape())[1:]])
    quantised = nncf.quantize(model, nncf.Dataset(list(images)), subset_size=len(images))
    openvino.save_model(quantised, destination, compress_to_fp16=False)


class OpenVinoPeer:
    """Two OpenVINO models behind the `Backend` protocol, slice by slice, for the guard.

    Parameters
    ----------
    classifier, segmenter
        The model files.
    precision
        What the guard calls them.
    """

    name: Final = "openvino-nncf"
    lanes: Final = 1
    micro_batch: Final = 1

    def __init__(self, classifier: Path, segmenter: Path, precision: Precision) -> None:
        import openvino

        core = openvino.Core()
        self.precision: Final = precision
        self._requests = [
            core.compile_model(core.read_model(path), "CPU", _CONFIG).create_infer_request()
            for path in (classifier, segmenter)
        ]

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return self._run(self._requests[0], images)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``."""
        return self._run(self._requests[1], images)

    def describe(self) -> dict[str, str]:
        """Return the version of OpenVINO."""
        import openvino

        return {"openvino": str(openvino.__version__)}

    def close(self) -> None:
        """Free both models."""
        self._requests.clear()

    @staticmethod
    def _run(request: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ANN401
        outputs = []
        for image in images:
            request.infer({0: image[np.newaxis]})
            outputs.append(np.array(request.get_output_tensor().data, np.float32))
        return np.concatenate(outputs)
