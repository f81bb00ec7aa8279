"""The arithmetic that a file states, as a backend: what a device computes that takes its word.

The CPU backends rewrite an INT8 graph to finer, unsigned activations. TensorRT rounds where the
file has QuantizeLinear, to the signed levels that it gives: another rounding, and so another
accuracy, which has to be measured by itself. ONNX Runtime without optimisation computes the
pairs one by one, and what lies between them in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside_calibration.sessions import open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.bundle import Bundle
    from scanside.contract import Precision

__all__ = ["STATED", "StatedBackend"]

STATED: Final = "unoptimised"
"""Its name beside those of the runtime's backends."""


class StatedBackend:
    """Both models in ONNX Runtime, without rewrites and without optimisation.

    Parameters
    ----------
    bundle
        Holds the models.
    precision
        One of its precisions.

    Raises
    ------
    BackendError
        If ONNX Runtime refuses a model.
    """

    name: Final = STATED
    lanes: Final = 1
    micro_batch: Final = 1

    def __init__(self, bundle: Bundle, precision: Precision) -> None:
        self.precision: Final = precision
        self._classifier = open_session(bundle.read_model("classifier", precision), optimised=False)
        self._segmenter = open_session(bundle.read_model("segmenter", precision), optimised=False)

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return np.asarray(self._classifier.run(None, {"image": images})[0], np.float32)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``."""
        return np.asarray(self._segmenter.run(None, {"image": images})[0], np.float32)

    def describe(self) -> dict[str, str]:
        """Return what computes."""
        return {"arithmetic": "as the file states"}

    def close(self) -> None:
        """Nothing to do: sessions go with this object."""
