"""Two ``.keras`` files behind the `Backend` protocol: figures before anything is exported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.errors import BackendError, ExtraNotInstalledError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.contract import Precision

__all__ = ["KerasBackend"]


class KerasBackend:
    """The models that training wrote, run by Keras.

    Parameters
    ----------
    classifier, segmenter
        The ``.keras`` files.

    Raises
    ------
    ExtraNotInstalledError
        If Keras or TensorFlow is not installed.
    InputError
        If a file is not there or is no model of built-in layers.
    """

    name: Final = "keras"
    precision: Final[Precision] = "fp32"
    lanes: Final = 1
    micro_batch: Final = 1

    def __init__(self, classifier: Path, segmenter: Path) -> None:
        self._classifier = _load(classifier)
        self._segmenter = _load(segmenter)

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return _run(self._classifier, images)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``."""
        return _run(self._segmenter, images)

    def describe(self) -> dict[str, str]:
        """Return the versions of Keras and TensorFlow."""
        import keras
        import tensorflow as tf

        return {"keras": str(keras.__version__), "tensorflow": str(tf.__version__)}

    def close(self) -> None:
        """Free both models."""
        del self._classifier, self._segmenter


def _load(path: Path) -> Any:  # noqa: ANN401 - a Keras model
    # TensorFlow's C++ side logs about absent GPUs before Python can ask it not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
        import tensorflow as tf  # noqa: F401 - the backend that Keras runs on
    except ImportError as error:
        raise ExtraNotInstalledError(
            "scanside evaluate on .keras files", package=error.name or "tensorflow", extra="train"
        ) from None
    if not path.is_file():
        raise InputError(f"there is no file {path}", accepted="a .keras file of scanside train")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers raise
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(
            f"{path}: Keras {keras.__version__} can't load it: {reason}",
            accepted="a .keras file of built-in layers, as scanside train writes it",
        ) from error


def _run(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ANN401
    try:
        return np.asarray(model.predict_on_batch(images), np.float32)
    except Exception as error:  # Keras raises whatever its layers raise
        raise BackendError(
            f"Keras failed on {model.name}: {error}",
            accepted="a model that takes uint8 [N, 256, 256, 3]",
        ) from error
