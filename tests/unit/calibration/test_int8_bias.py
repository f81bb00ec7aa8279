from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import residual
from scanside.errors import InputError
from scanside_calibration.int8.bias import correct_biases
from scanside_calibration.int8.check import check_int8
from scanside_calibration.int8.methods import Method, calibrate
from scanside_calibration.int8.placement import quantisable, quantise

MODEL = residual.build()
BATCHES = [residual.images(4, seed) for seed in range(4)]
SLICES = np.concatenate(BATCHES)
AMAX = calibrate(MODEL, BATCHES, [Method.MSE])[Method.MSE]
INT8 = quantise(MODEL, AMAX)
CONVOLUTIONS = ("stem", "a", "b", "join", "logits")


def bias(model: onnx.ModelProto, name: str) -> np.ndarray:
    node = next(each for each in model.graph.node if each.name == name)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return held[node.input[2]]


def tensor(model: onnx.ModelProto, name: str) -> np.ndarray:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return residual.run(copy, SLICES)[0]


def test_the_first_convolution_has_the_float_mean_again() -> None:
    """Its input is exact, so the shift is that of its weights alone."""
    plain = tensor(MODEL, "stem/y").mean((0, 2, 3))
    before = tensor(INT8, "stem/y").mean((0, 2, 3))
    after = tensor(correct_biases(MODEL, INT8, BATCHES), "stem/y").mean((0, 2, 3))
    assert np.abs(after - plain).max() < 0.3 * np.abs(before - plain).max()


def test_a_coarse_weight_is_corrected_by_its_shift() -> None:
    """A weight spoilt on purpose: the bias takes back what it adds to the mean."""
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(INT8)
    for held in spoilt.graph.initializer:
        if held.name == "logits/w/quantized":
            values = np.clip(numpy_helper.to_array(held).astype(int) + 20, -127, 127)
            held.CopyFrom(numpy_helper.from_array(values.astype(np.int8), held.name))
    plain = residual.run(MODEL, SLICES)[0]
    before = residual.run(spoilt, SLICES)[0]
    after = residual.run(correct_biases(MODEL, spoilt, BATCHES), SLICES)[0]
    assert abs(after.mean() - plain.mean()) < 0.1 * abs(before.mean() - plain.mean())


def test_only_biases_change() -> None:
    made = correct_biases(MODEL, INT8, BATCHES)
    check_int8(made)
    for one, other in zip(INT8.graph.node, made.graph.node, strict=True):
        assert one.name == other.name
        assert list(one.input[:2]) == list(other.input[:2])
        assert one.output == other.output
    for name in CONVOLUTIONS:
        assert not np.array_equal(bias(INT8, name), bias(made, name))
        np.testing.assert_allclose(bias(INT8, name), bias(made, name), atol=0.05)


def test_the_models_given_are_not_changed() -> None:
    before = MODEL.SerializeToString(), INT8.SerializeToString()
    correct_biases(MODEL, INT8, BATCHES)
    assert (MODEL.SerializeToString(), INT8.SerializeToString()) == before


def test_float_nodes_keep_their_bias() -> None:
    made = correct_biases(MODEL, quantise(MODEL, AMAX, float_nodes=["b"]), BATCHES)
    np.testing.assert_array_equal(bias(made, "b"), bias(MODEL, "b"))
    assert not np.array_equal(bias(made, "a"), bias(MODEL, "a"))
    check_int8(made, float_nodes=["b"])


def test_nothing_quantised_is_left_as_it_is() -> None:
    plain = quantise(MODEL, AMAX, float_nodes=quantisable(MODEL))
    assert correct_biases(MODEL, plain, BATCHES).graph == plain.graph


def test_a_convolution_without_bias_gets_one() -> None:
    model = residual.build()
    node = next(each for each in model.graph.node if each.name == "a")
    del node.input[2]
    kept = [held for held in model.graph.initializer if held.name != "a/b"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    amax = calibrate(model, BATCHES, [Method.MAX])[Method.MAX]
    made = correct_biases(model, quantise(model, amax), BATCHES)
    check_int8(made)
    assert bias(made, "a").shape == (8,)


def test_a_bias_that_two_convolutions_share_is_corrected_for_each() -> None:
    model = residual.build()
    next(each for each in model.graph.node if each.name == "b").input[2] = "a/b"
    kept = [held for held in model.graph.initializer if held.name != "b/b"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    made = correct_biases(model, quantise(model, AMAX), BATCHES)
    assert not np.array_equal(bias(made, "a"), bias(made, "b"))


def test_batches_change_nothing() -> None:
    one = correct_biases(MODEL, INT8, [SLICES])
    other = correct_biases(MODEL, INT8, list(SLICES[:, None]))
    for name in CONVOLUTIONS:
        np.testing.assert_array_equal(bias(one, name), bias(other, name))


def test_no_slices_are_refused() -> None:
    with pytest.raises(InputError, match="no slices"):
        correct_biases(MODEL, INT8, [])
