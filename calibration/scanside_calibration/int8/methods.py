"""From slices to one saturating magnitude (amax) a tensor, by several methods at once.

Two passes over the data: the ranges, then histograms of the magnitudes within them. Every
method reads its answer from the same histograms, so comparing them costs no further pass, and
the memory is one slice's activations and one histogram a tensor, however many slices there are.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from scanside.errors import BundleError, InputError
from scanside_calibration.int8.histogram import collect_histograms
from scanside_calibration.int8.placement import activations
from scanside_calibration.int8.search import entropy_amax, mse_amax, percentile_amax
from scanside_calibration.int8.ties import IMAGE_AMAX, image_tensors, tie
from scanside_calibration.ranges import measure_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

    from scanside_calibration.int8.histogram import Histogram
    from scanside_calibration.ranges import Range

    Batches = Sequence[NDArray[np.uint8]] | Callable[[], Iterable[NDArray[np.uint8]]]

__all__ = ["Method", "calibrate"]

_IMAGE_LIMIT: Final = 1.0
"""The scaled image, ``(x - 128) / 128``, lies from -1 to 127/128."""


class Method(str, Enum):
    """How the observed magnitudes of a tensor become the one at which it saturates.

    Attributes
    ----------
    MAX
        The largest magnitude.
    PERCENTILE_99_9, PERCENTILE_99_99, PERCENTILE_99_999
        The magnitude below which this share of all values lies.
    ENTROPY
        The one whose quantised distribution has the smallest Kullback-Leibler divergence.
    MSE
        The one with the smallest mean squared error of quantisation.
    """

    MAX = "max"
    PERCENTILE_99_9 = "percentile 99.9"
    PERCENTILE_99_99 = "percentile 99.99"
    PERCENTILE_99_999 = "percentile 99.999"
    ENTROPY = "entropy"
    MSE = "mse"

    def __str__(self) -> str:
        return self.value


def calibrate(
    model: ModelProto,
    batches: Batches,
    methods: Sequence[Method] = tuple(Method),
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Method, dict[str, float]]:
    """Observe a float model's activations on slices and choose where each saturates.

    Parameters
    ----------
    model
        The FP32 ONNX model; it is not changed.
    batches
        uint8 ``[N, 256, 256, 3]`` each: a sequence, or a function that gives a fresh iterable
        of the same batches each time it is called.
    methods
        What to compute; all share the passes. `Method.MAX` alone takes one pass.
    threads
        Threads that compute; 0 for all cores.
    progress
        Called with the pass (1 or 2) and the number of slices it has done.

    Returns
    -------
    dict
        By method, the magnitude by tensor for all of `placement.activations`. The scaled image
        has 127/128 in each, so that its scale is 1/128 and the uint8 slice is the quantised
        input; what only passes values on has its source's magnitude (see `ties`).

    Raises
    ------
    InputError
        If there is no slice, or the second pass finds other slices than the first.
    BundleError
        If an activation is NaN or infinite (the message names it), or the scaled image is not
        what the model contract says.
    BackendError, ExtraNotInstalledError
        If ONNX Runtime refuses the model, or is not installed.
    """
    names = activations(model)
    source = batches if callable(batches) else lambda: batches
    passes = (_Pass(1, progress), _Pass(2, progress))
    ranges = measure_ranges(model, source(), threads=threads, progress=passes[0])
    fixed = image_tensors(model)
    _check_image(ranges, fixed & set(names))
    largest = {name: ranges[name].largest for name in names}
    histograms: dict[str, Histogram] = {}
    if any(method is not Method.MAX for method in methods):
        histograms = collect_histograms(
            model, source(), largest, threads=threads, progress=passes[1]
        )
        _check_same(passes, histograms)
    return {
        method: tie(
            model,
            {
                name: IMAGE_AMAX if name in fixed else _amax(method, top, histograms.get(name))
                for name, top in largest.items()
            },
        )
        for method in methods
    }


def _amax(method: Method, largest: float, histogram: Histogram | None) -> float:
    # A tensor that is 0 throughout has no range: any scale holds it exactly.
    if not largest:
        return 1.0
    if histogram is None or method is Method.MAX:
        return largest
    if method is Method.ENTROPY:
        return entropy_amax(histogram)
    if method is Method.MSE:
        return mse_amax(histogram)
    return percentile_amax(histogram, float(method.value.split()[1]))


def _check_image(ranges: dict[str, Range], fixed: frozenset[str]) -> None:
    for name in sorted(fixed & ranges.keys()):
        if ranges[name].largest > _IMAGE_LIMIT:
            raise BundleError(
                f"{name} is the scaled image and has values from {ranges[name].minimum} to"
                f" {ranges[name].maximum}",
                accepted="(x - 128) / 128 in the graph: values from -1 to 127/128",
                remedy="export the bundle again",
            )


def _check_same(passes: tuple[_Pass, _Pass], histograms: dict[str, Histogram]) -> None:
    """Refuse a second pass over other slices than those of the first."""
    first, second = (each.slices for each in passes)
    above = [name for name, histogram in histograms.items() if histogram.above]
    if first != second or above:
        what = f"{second} slices after {first}" if first != second else f"larger values of {above}"
        raise InputError(
            f"the second pass over the slices found {what}",
            accepted="a sequence of batches, or a function that gives the same ones again",
        )


class _Pass:
    """Counts the slices of a pass and reports them."""

    def __init__(self, number: int, progress: Callable[[int, int], None] | None) -> None:
        self._number = number
        self._progress = progress
        self.slices = 0

    def __call__(self, done: int) -> None:
        self.slices = done
        if self._progress is not None:
            self._progress(self._number, done)
