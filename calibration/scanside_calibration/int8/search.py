"""Where to saturate, from a histogram of magnitudes: percentile, entropy, squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside_calibration.int8.placement import LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside_calibration.int8.histogram import Histogram

__all__ = ["entropy_amax", "mse_amax", "percentile_amax"]

_ENTROPY_LEVELS: Final = 128
"""As in TensorRT: the magnitudes of int8."""

_FEWEST_BINS: Final = 128
"""The smallest range that is tried: below it a step of quantisation is finer than a bin, and
the histogram can't tell what it costs."""

_FEWEST_VALUES: Final = 4
"""Values a bin, on average, that make a distribution. With fewer the bins are mostly empty, and
the divergence favours the smallest range whatever the values are."""

_MSE_CANDIDATES: Final = 256
"""Steps of 0.4 % of the range; finer ones moved no result in the third digit."""

_ALL: Final = 100.0


def percentile_amax(histogram: Histogram, percentile: float) -> float:
    """Return the magnitude below which a share of all values lies.

    Parameters
    ----------
    histogram
        Magnitudes of a tensor, zeros included.
    percentile
        Above 0, at most 100; linear within a bin.
    """
    counts = histogram.counts
    below = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    edges = np.linspace(0.0, histogram.largest, len(counts) + 1)
    wanted = below[-1] * percentile / _ALL
    at = min(int(np.searchsorted(below, wanted)), len(counts))
    first = max(at - 1, 0)
    share = (wanted - below[first]) / max(below[at] - below[first], 1.0)
    value = float(edges[first] + share * (edges[at] - edges[first]))
    # More zeros than the percentile leaves: the first bin is the smallest range there is.
    return max(value, float(edges[1]))


def entropy_amax(histogram: Histogram) -> float:
    """Return the magnitude with the smallest Kullback-Leibler divergence.

    For each number of bins from 128 on, what lies above is added to the last bin (P), and the
    bins are merged to 128 levels and spread again over their bins that are not empty (Q). The
    number with the smallest divergence of Q from P wins.

    Parameters
    ----------
    histogram
        Magnitudes of a tensor. The first bin counts as the second: zeros cost nothing at any
        scale, and after a Relu they would outweigh everything else. Of too few values the
        largest magnitude is returned.

    References
    ----------
    Migacz (2017): 8-bit inference with TensorRT. GPU Technology Conference, S7310. The first
    bin as in NVIDIA's pytorch-quantization, ``calib/histogram.py``.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    width = histogram.largest / len(counts)
    if histogram.counts[1:].sum() < _FEWEST_VALUES * len(counts):
        return histogram.largest
    sizes = range(_FEWEST_BINS, len(counts) + 1)
    costs = [_divergence(counts, size) for size in sizes]
    return float(width * sizes[int(np.argmin(costs))])


def mse_amax(histogram: Histogram) -> float:
    """Return the magnitude with the smallest mean squared error of quantisation.

    Parameters
    ----------
    histogram
        Magnitudes of a tensor; a bin's values count as its middle. The first bin is left out:
        it holds the zeros, which cost nothing at any scale.
    """
    counts = histogram.counts[1:].astype(np.float64)
    values = histogram.centres[1:]
    first = histogram.largest * _FEWEST_BINS / len(histogram.counts)
    candidates = np.linspace(first, histogram.largest, _MSE_CANDIDATES)
    scales = candidates[:, None] / LEVELS
    errors = np.minimum(np.rint(values / scales), LEVELS) * scales - values
    return float(candidates[int(np.argmin(errors**2 @ counts))])


def _divergence(counts: NDArray[np.float64], size: int) -> float:
    kept = counts[:size]
    reference = kept.copy()
    reference[-1] += counts[size:].sum()
    level = np.arange(size) * _ENTROPY_LEVELS // size
    filled = kept > 0
    total = np.bincount(level, weights=kept, minlength=_ENTROPY_LEVELS)
    share = np.bincount(level, weights=filled, minlength=_ENTROPY_LEVELS)
    spread = np.where(filled, (total / np.maximum(share, 1))[level], 0.0)
    if np.any((reference > 0) & (spread == 0)):
        return np.inf
    reference, spread = reference[filled], spread[filled]
    reference, spread = reference / reference.sum(), spread / spread.sum()
    return float(np.sum(reference * np.log(reference / spread)))
