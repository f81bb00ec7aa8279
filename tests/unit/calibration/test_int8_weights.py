from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scanside_calibration.int8.weights import quantise_weight, smallest_scales

WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=st.floats(-100, 100, width=32),
)


@given(weight=WEIGHTS, axis=st.sampled_from([0, 1]))
def test_every_weight_is_within_half_a_step(weight: np.ndarray, axis: int) -> None:
    held = quantise_weight(weight, axis)
    assert held.values.dtype == np.int8
    assert held.values.shape == weight.shape
    assert held.scales.dtype == np.float32
    assert held.scales.shape == (weight.shape[axis],)
    assert (held.scales > 0).all()
    shape = [1] * weight.ndim
    shape[axis] = -1
    scales = held.scales.reshape(shape).astype(np.float64)
    assert (np.abs(held.values * scales - weight) <= scales * (0.5 + 1e-5)).all()
    assert held.values.min() >= -127


@given(weight=WEIGHTS)
def test_symmetric(weight: np.ndarray) -> None:
    one, other = quantise_weight(weight, 0), quantise_weight(-weight, 0)
    np.testing.assert_array_equal(one.values, -other.values)
    np.testing.assert_array_equal(one.scales, other.scales)


def test_a_channel_does_not_change_another() -> None:
    weight = np.float32([[0.5, -1.0], [100.0, 3.0]])
    both = quantise_weight(weight, 0)
    alone = quantise_weight(weight[:1], 0)
    np.testing.assert_array_equal(both.values[0], alone.values[0])
    assert both.scales[0] == alone.scales[0]
    np.testing.assert_array_equal(both.values[:, :1], [[64], [127]])


def test_a_channel_of_zeros() -> None:
    held = quantise_weight(np.float32([[0, 0], [1, 2]]), 0)
    np.testing.assert_array_equal(held.values[0], 0)
    assert held.scales[0] > 0


@given(
    bias=hnp.arrays(np.float32, 6, elements=st.floats(-1e4, 1e4, width=32)),
    scale=st.floats(1e-6, 10),
    largest=st.floats(1e-30, 10),
)
def test_biases_fit_32_bit_integers(bias: np.ndarray, scale: float, largest: float) -> None:
    """Also with the finer scale that the CPU's rewrite gives activations."""
    weight = np.full((6, 2), largest, np.float32)
    held = quantise_weight(weight, 0, smallest=smallest_scales(bias, scale))
    steps = np.abs(bias.astype(np.float64)) / (scale * 127 / 255 * held.scales.astype(np.float64))
    assert (steps < 2**31).all()
