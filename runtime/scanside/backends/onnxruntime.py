"""The ``cpu`` backend: ONNX Runtime's CPU execution provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.backends.arithmetic import ARITHMETIC, arithmetic
from scanside.backends.cores import usable_cores
from scanside.backends.cpufeatures import cpu_features
from scanside.backends.derivation import INTEGER_PRODUCT
from scanside.backends.onnxsession import PROVIDER, library_version, open_session
from scanside.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.bundle import Bundle
    from scanside.contract import Precision

__all__ = ["OnnxRuntimeBackend", "load", "usable_cores"]

_MICRO_BATCH: Final = 4
"""ResNet-50's last stage has 16 pixels a slice and 15 MB of weights, which are read from the third
level of the cache for each batch. In two lanes the classifier took 7.8 ms a slice by ones, 7.4 by
twos, 6.9 by fours and no less by eights."""


def load(
    bundle: Bundle, precision: Precision, *, lanes: int = 1, features: CpuFeatures | None = None
) -> OnnxRuntimeBackend:
    """Load both models of a bundle.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of threads whose calls are computed side by side, each on its share of the cores.
    features
        Compute as a processor with these features does; none for this one's own.

    Raises
    ------
    ExtraNotInstalledError
        If onnxruntime is not installed.
    BackendError
        If ONNX Runtime refuses a model.
    BundleError
        If the bundle does not hold the precision.
    """
    return OnnxRuntimeBackend(
        bundle,
        precision,
        lanes=lanes,
        threads=max(1, usable_cores() // lanes),
        features=features or cpu_features(),
    )


class OnnxRuntimeBackend:
    """Both models as ONNX Runtime sessions on the CPU.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of threads whose calls are computed side by side.
    threads
        Threads that compute one call.
    features
        The processor's features, which the rewrites go by.
    """

    name: Final = "cpu"

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision,
        *,
        lanes: int,
        threads: int,
        features: CpuFeatures,
    ) -> None:
        self.precision: Final = precision
        self.lanes: Final = lanes
        self._threads = threads
        self._arithmetic = arithmetic(precision, features)
        self._classifier, classifier = open_session(
            bundle, "classifier", precision, threads, features
        )
        self._segmenter, segmenter = open_session(bundle, "segmenter", precision, threads, features)
        # Where the last product is one of floats, its bits would depend on the batch.
        by_integers = any(label.startswith(INTEGER_PRODUCT) for label in classifier)
        self.micro_batch: Final = _MICRO_BATCH if by_integers else 1
        # In the order of their application, each once.
        self._applied = tuple(dict.fromkeys((*classifier, *segmenter)))

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return _run(self._classifier, "tumor_probability", images)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``.

        Slice by slice: together they take as long, and several times the memory.
        """
        planes = [_run(self._segmenter, "mask_probability", image[np.newaxis]) for image in images]
        return planes[0] if len(planes) == 1 else np.concatenate(planes)

    def describe(self) -> dict[str, str]:
        """Return library version, provider, threads, and how the graphs were derived."""
        known = {} if self._arithmetic is None else {ARITHMETIC: self._arithmetic}
        return {
            "onnxruntime": library_version(),
            "provider": PROVIDER,
            "lanes": str(self.lanes),
            "threads": str(self._threads),
            "rewrites": ", ".join(self._applied) or "none",
        } | known

    def close(self) -> None:
        """Free both sessions."""
        self._classifier = self._segmenter = None


def _run(session: Any, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ANN401
    if session is None:
        raise BackendError("the backend was closed", remedy="open another pipeline")
    try:
        result: NDArray[np.float32] = session.run([output], {"image": images})[0]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BackendError(f"ONNX Runtime failed on {output}: {error}") from error
    return result
