"""Weights as int8: one symmetric scale an output channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["QuantisedWeight", "quantise_weight", "smallest_scales"]

_LEVELS: Final = 127
"""-128 is left out, so that the negative of a weight is a weight."""

_BIAS_LIMIT: Final = float(1 << 29)
"""ONNX Runtime stores a convolution's bias as int32 in units of input scale x weight scale.
A quarter of int32's range: the CPU's finer scale of activations takes a factor 255/127 more,
and the corrected bias may be somewhat larger."""


class QuantisedWeight(NamedTuple):
    """A quantised weight.

    Attributes
    ----------
    values
        int8, of the weight's own shape, -127 to 127.
    scales
        float32 ``[channels]``: the weight is about ``values * scales`` along the axis.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def smallest_scales(bias: NDArray[Any], input_scale: float | np.floating[Any]) -> NDArray[Any]:
    """Return the smallest weight scales for which a bias fits 32-bit integers with a margin.

    A channel that training has switched off has weights near 1e-9 and a bias that is not: its
    bias would overflow, and the channel come out as 0 without any error.

    Parameters
    ----------
    bias
        Float ``[channels]``.
    input_scale
        The scale of the quantised input.

    Returns
    -------
    ndarray of float64
        ``[channels]``.
    """
    return np.abs(bias.astype(np.float64)) / (float(input_scale) * _BIAS_LIMIT)


def quantise_weight(
    weight: NDArray[np.float32], axis: int, *, smallest: NDArray[Any] | float = 0.0
) -> QuantisedWeight:
    """Round a weight to int8, each output channel to its own largest magnitude.

    Clipping a channel's largest weights for a smaller mean squared error was measured and made
    no difference that holds for both models (the record in ``docs/adr`` has the figures).

    Parameters
    ----------
    weight
        Float32, two dimensions or more.
    axis
        The axis of the output channels.
    smallest
        The smallest scales allowed, ``[channels]`` or one for all; see `smallest_scales`.

    Returns
    -------
    QuantisedWeight
        The error of every weight is at most half its channel's scale.
    """
    others = tuple(at for at in range(weight.ndim) if at != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    # A channel of zeros has no scale of its own: any positive one holds it exactly.
    scales = np.maximum(np.where(largest > 0, largest, _LEVELS) / _LEVELS, smallest)
    held = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    steps = np.rint(weight.astype(np.float64) / held.reshape(shape).astype(np.float64))
    return QuantisedWeight(np.clip(steps, -_LEVELS, _LEVELS).astype(np.int8), held)
