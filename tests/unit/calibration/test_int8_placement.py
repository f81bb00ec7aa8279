from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

import residual
from scanside.errors import BundleError, UsageError
from scanside_calibration.int8.check import find_violations
from scanside_calibration.int8.placement import activations, quantisable, quantise

MODEL = residual.build()
PAIRED = (
    "nchw", "stem/r", "padded", "pooled", "a/r", "b/y", "block", "up", "both", "join/r", "flat",
)  # fmt: skip
QUANTISED = (
    "stem", "pad", "pool", "a", "b", "residual", "up", "concat", "join", "logits", "mean", "dense",
)  # fmt: skip
AMAX = {name: 127 / 128 if name == "nchw" else 4.0 for name in PAIRED}


def nodes(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {node.name: node for node in model.graph.node}


def held(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_what_is_observed_and_what_may_stay_float() -> None:
    assert activations(MODEL) == PAIRED
    assert quantisable(MODEL) == QUANTISED


def test_one_pair_an_activation_behind_its_producer() -> None:
    result = quantise(MODEL, AMAX)
    order = [node.name for node in result.graph.node]
    for name in PAIRED:
        pair = [node for node in result.graph.node if name in node.input[:1]]
        assert [n.op_type for n in pair if n.op_type == "QuantizeLinear"] == ["QuantizeLinear"]
        at = order.index(f"{name}/QuantizeLinear")
        assert name in result.graph.node[at - 1].output
        assert order[at + 1] == f"{name}/DequantizeLinear"
    assert sum(node.op_type == "QuantizeLinear" for node in result.graph.node) == len(PAIRED)


def test_the_float_graph_keeps_its_names_outputs_and_opset() -> None:
    before = MODEL.SerializeToString()
    result = quantise(MODEL, AMAX)
    assert MODEL.SerializeToString() == before
    kept = [node.name for node in result.graph.node if "Linear" not in node.op_type]
    assert kept == [node.name for node in MODEL.graph.node]
    assert result.graph.output == MODEL.graph.output
    assert result.opset_import[0].version == residual.OPSET
    assert find_violations(result) == []


def test_both_sides_of_the_residual_addition_and_no_constant_one() -> None:
    result = nodes(quantise(MODEL, AMAX))
    assert list(result["residual"].input) == ["pooled/dequantized", "b/y/dequantized"]
    assert list(result["scale/Add"].input) == ["unit", "minus_one"]
    assert list(result["dense/Add"].input) == ["product", "dense/b"]


def test_logits_stay_float() -> None:
    result = nodes(quantise(MODEL, AMAX))
    assert result["logits/Resize"].input[0] == "logits/y"
    assert result["up"].input[0] == "block/dequantized"


def test_weights_are_stored_as_int8_and_biases_as_float() -> None:
    result = quantise(MODEL, AMAX)
    constants = held(result)
    for name in ("stem", "a", "b", "join", "logits", "dense"):
        weight = held(MODEL)[f"{name}/w"]
        values, scales = constants[f"{name}/w/quantized"], constants[f"{name}/w/scale"]
        axis = 1 if name == "dense" else 0
        assert values.dtype == np.int8
        assert scales.shape == (weight.shape[axis],)
        shape = [1] * weight.ndim
        shape[axis] = -1
        error = np.abs(values * scales.reshape(shape) - weight)
        assert (error <= scales.reshape(shape) * 0.5001).all()
        assert f"{name}/w" not in constants
        assert constants[f"{name}/b"].dtype == np.float32


def test_the_scaled_image_is_held_exactly() -> None:
    """Every grey level comes back bit for bit: the scale is 1/128."""
    result = quantise(MODEL, AMAX)
    assert held(result)["nchw/scale"] == np.float32(1 / 128)
    del result.graph.output[:]
    for name in ("nchw", "nchw/dequantized"):
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        result.graph.output.append(value)
    session = onnxruntime.InferenceSession(
        result.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    levels = np.arange(768, dtype=np.int64).astype(np.uint8).reshape(1, 16, 16, 3)
    plain, through = session.run(None, {"image": levels})
    assert len(np.unique(plain)) == 256
    np.testing.assert_array_equal(plain, through)


@given(float_nodes=st.sets(st.sampled_from(QUANTISED)))
def test_float_nodes_and_only_they_stay_float(float_nodes: set[str]) -> None:
    result = quantise(MODEL, AMAX, float_nodes=float_nodes)
    plain, made = nodes(MODEL), nodes(result)
    for name in QUANTISED:
        if name in float_nodes:
            assert list(made[name].input) == list(plain[name].input)
        else:
            assert made[name].input[0] == f"{plain[name].input[0]}/dequantized"
            if plain[name].op_type in ("Conv", "MatMul"):
                assert made[name].input[1] == f"{name}/w/dequantized"
    read = {name for node in result.graph.node for name in node.input}
    assert {tensor.name for tensor in result.graph.initializer} <= read
    written = {node.output[0] for node in result.graph.node if node.op_type == "DequantizeLinear"}
    assert written <= read
    onnx.checker.check_model(result, full_check=True)


def test_everything_float_is_the_float_model() -> None:
    result = quantise(MODEL, AMAX, float_nodes=QUANTISED)
    assert list(result.graph.node) == list(MODEL.graph.node)
    assert sorted(held(result)) == sorted(held(MODEL))


def test_a_weight_that_two_convolutions_share_is_stored_once() -> None:
    model = residual.build()
    by_name = nodes(model)
    by_name["b"].input[1] = "a/w"
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "b/w"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    both = quantise(model, AMAX)
    assert nodes(both)["a"].input[1] == nodes(both)["b"].input[1] == "a/w/dequantized"
    one = quantise(model, AMAX, float_nodes=["b"])
    assert nodes(one)["a"].input[1] == "a/w/dequantized"
    assert nodes(one)["b"].input[1] == "a/w"


def test_a_pad_with_another_value_stays_float() -> None:
    model = residual.build(minus=np.float32(-1))
    nodes(model)["pad"].input.append("minus")
    assert "pad" not in quantisable(model)
    assert "stem/r" in activations(model)  # the Concat reads it


def test_unknown_nodes_are_refused() -> None:
    with pytest.raises(UsageError, match="stem/Relu"):
        quantise(MODEL, AMAX, float_nodes=["stem/Relu", "a"])


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-60])
def test_a_range_that_gives_no_scale_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="a/r"):
        quantise(MODEL, AMAX | {"a/r": value})


def test_a_missing_range_is_refused() -> None:
    with pytest.raises(UsageError, match="no range for b/y"):
        quantise(MODEL, {name: top for name, top in AMAX.items() if name != "b/y"})


def test_a_quantised_model_is_not_quantised_again() -> None:
    result = quantise(MODEL, AMAX)
    with pytest.raises(BundleError, match="quantised already"):
        quantise(result, dict.fromkeys(activations(result), 1.0))


def test_a_channel_that_is_switched_off_keeps_its_bias() -> None:
    """Weights near 0 with a bias that is not: ONNX Runtime's int32 bias must not overflow."""
    weight = held(MODEL)["b/w"].copy()
    weight[3] = 1e-12
    bias = np.full(8, 3.0, np.float32)
    result = quantise(residual.build(**{"b/w": weight, "b/b": bias}), AMAX)
    del result.graph.output[:]
    result.graph.output.append(
        onnx.helper.make_tensor_value_info("b/y/dequantized", onnx.TensorProto.FLOAT, None)
    )
    found = residual.run(result, residual.images())[0]
    np.testing.assert_allclose(found[:, 3], 3.0, atol=4 / 127)
