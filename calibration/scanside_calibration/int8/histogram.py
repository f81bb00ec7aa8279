"""Histograms of the magnitudes of a model's activations, gathered slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from scanside.errors import BundleError
from scanside_calibration.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto

__all__ = ["BINS", "Histogram", "collect_histograms", "histogram"]

BINS: Final = 2048
"""As TensorRT's entropy calibration has it.

References
----------
Migacz (2017): 8-bit inference with TensorRT. GPU Technology Conference, S7310.
"""

_CHUNK: Final = 1 << 18
"""Values binned at a time: what is in the processor's cache is not fetched twice."""

_TOLERANCE: Final = 1.001
"""Two sessions with other kernels differ in the last digits; more is another slice."""


class Histogram(NamedTuple):
    """How often magnitudes occur.

    Attributes
    ----------
    counts
        int64 ``[BINS]``, of equally wide bins from 0 to `largest`.
    largest
        The upper edge of the last bin.
    above
        How many values lay clearly above it (they count in the last bin).
    """

    counts: NDArray[np.int64]
    largest: float
    above: int = 0

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, ``[BINS]``."""
        size = len(self.counts)
        return (np.arange(size, dtype=np.float64) + 0.5) * (self.largest / size)


def histogram(values: NDArray[np.float32], largest: float, bins: int = BINS) -> Histogram:
    """Count magnitudes.

    Parameters
    ----------
    values
        Float32 of any shape, finite.
    largest
        The upper edge of the last bin, above 0.
    bins
        How many bins.
    """
    counts = np.zeros(bins, np.int64)
    flat = values.reshape(-1)
    above = 0
    for start in range(0, flat.size, _CHUNK):
        size = np.abs(flat[start : start + _CHUNK])
        above += int(np.count_nonzero(size > np.float32(largest * _TOLERANCE)))
        at = np.minimum(size * np.float32(bins / largest), np.float32(bins - 1)).astype(np.intp)
        counts += np.bincount(at, minlength=bins)
    return Histogram(counts, largest, above)


def collect_histograms(
    model: ModelProto,
    batches: Iterable[NDArray[np.uint8]],
    largest: Mapping[str, float],
    *,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Histogram]:
    """Run a float model slice by slice and count the magnitudes of tensors.

    Parameters
    ----------
    model
        An FP32 ONNX model whose one input is the slices; it is not changed.
    batches
        uint8 ``[N, 256, 256, 3]`` each.
    largest
        The tensors to observe, each with the upper edge of its histogram. One of 0 throughout
        gets no histogram.
    threads
        Threads that compute; 0 for all cores.
    progress
        Called after each batch with the number of slices done.

    Raises
    ------
    ExtraNotInstalledError
        If onnxruntime is not installed.
    BackendError
        If ONNX Runtime refuses the model.
    BundleError
        If a value is NaN or infinite.
    """
    names = [name for name, top in largest.items() if top > 0]
    session = open_session(_observed(model, names).SerializeToString(), threads=threads)
    (image,) = (value.name for value in session.get_inputs())
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    above = dict.fromkeys(names, 0)
    done = 0
    for batch in batches:
        for piece in batch:
            for name, values in zip(names, session.run(names, {image: piece[None]}), strict=True):
                if not np.isfinite(values.sum(dtype=np.float64)):
                    raise BundleError(
                        f"the FP32 model gives values of {name} that are NaN or infinite",
                        remedy="train or export it again",
                    )
                found = histogram(values, largest[name])
                counts[name] += found.counts
                above[name] += found.above
        done += len(batch)
        if progress is not None:
            progress(done)
    return {name: Histogram(counts[name], largest[name], above[name]) for name in names}


def _observed(model: ModelProto, names: list[str]) -> ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.ClearField("output")
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return copy
