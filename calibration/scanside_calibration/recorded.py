"""The INT8 classifier's own golden outputs, for `verify` on devices of the same arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scanside.backends import onnxruntime
from scanside.backends.arithmetic import ARITHMETIC
from scanside.backends.cpufeatures import CpuFeatures, cpu_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.bundle import Bundle

__all__ = ["recorded_outputs"]


def recorded_outputs(bundle: Bundle, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Run the classifier in every integer arithmetic that this machine computes exactly.

    A processor without VNNI computes the narrow one alone: in the wide one its sums saturate.

    Parameters
    ----------
    bundle
        Holds the INT8 models; usually a `Candidate`.
    images
        The golden slices, uint8 ``[N, 256, 256, 3]``.

    Returns
    -------
    dict
        float32 ``[N, 1]`` by the name of the arithmetic; empty where none is known to be the
        same everywhere.
    """
    found = {}
    for wide in {False, cpu_features().wide_dot_product}:
        features = CpuFeatures(wide_dot_product=wide)
        backend = onnxruntime.load(bundle, "int8", features=features)
        try:
            if name := backend.describe().get(ARITHMETIC):
                found[name] = np.concatenate([backend.classify(image[None]) for image in images])
        finally:
            backend.close()
    return found
