from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import residual
from scanside.errors import BundleError
from scanside_calibration.int8.check import check_int8, find_violations
from scanside_calibration.int8.placement import activations, quantise

if TYPE_CHECKING:
    from collections.abc import Callable

FLOAT = residual.build()
AMAX = dict.fromkeys(activations(FLOAT), 2.0)
GOOD = quantise(FLOAT, AMAX)


def copied(model: onnx.ModelProto = GOOD) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(each for each in model.graph.node if each.name == name)


def put(model: onnx.ModelProto, name: str, value: object) -> None:
    """Replace or add a constant."""
    made = numpy_helper.from_array(np.asarray(value), name)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(made)
            return
    model.graph.initializer.append(made)


def held(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))


def test_what_the_placement_writes_passes() -> None:
    check_int8(GOOD)


def test_nodes_kept_float_pass_where_they_are_named() -> None:
    made = quantise(FLOAT, AMAX, float_nodes=["join", "residual"])
    check_int8(made, float_nodes=["join", "residual"])
    with pytest.raises(BundleError, match="join \\(Conv\\): its input both is not quantised"):
        check_int8(made)


def unsigned(model: onnx.ModelProto) -> None:
    put(model, "a/r/zero_point", np.uint8(0))


def offset(model: onnx.ModelProto) -> None:
    put(model, "a/r/zero_point", np.int8(3))


def no_zero_point(model: onnx.ModelProto) -> None:
    del node(model, "a/r/QuantizeLinear").input[2]


def offset_weight(model: onnx.ModelProto) -> None:
    put(model, "a/w/zero_point", np.int8([0, 0, 0, 0, 0, 0, 0, 1]))


def integer_bias(model: onnx.ModelProto) -> None:
    put(model, "bias_q", np.zeros(8, np.int32))
    put(model, "bias_s", np.ones(8, np.float32))
    put(model, "bias_z", np.zeros(8, np.int32))
    pair = helper.make_node(
        "DequantizeLinear", ["bias_q", "bias_s", "bias_z"], ["bias_dq"], "bias", axis=0
    )
    model.graph.node.insert(0, pair)
    node(model, "a").input[2] = "bias_dq"


def qlinear(model: onnx.ModelProto) -> None:
    node(model, "a").op_type = "QLinearConv"


def float_weight(model: onnx.ModelProto) -> None:
    put(model, "a/w", held(FLOAT, "a/w"))
    node(model, "a").input[1] = "a/w"


def weight_quantised_at_run_time(model: onnx.ModelProto) -> None:
    put(model, "a/w", held(FLOAT, "a/w"))
    made = helper.make_node(
        "QuantizeLinear", ["a/w", "a/w/scale", "a/w/zero_point"], ["a/w/again"], "again", axis=0
    )
    model.graph.node.insert(0, made)
    node(model, "a/w/DequantizeLinear").input[0] = "a/w/again"


def one_scale_for_all_channels(model: onnx.ModelProto) -> None:
    put(model, "a/w/scale", np.float32(0.01))
    put(model, "a/w/zero_point", np.int8(0))


def another_axis(model: onnx.ModelProto) -> None:
    node(model, "a/w/DequantizeLinear").attribute[0].i = 1


def most_negative_weight(model: onnx.ModelProto) -> None:
    weight = held(model, "a/w/quantized").copy()
    weight[0, 0, 0, 0] = -128
    put(model, "a/w/quantized", weight)


def scale_of_zero(model: onnx.ModelProto) -> None:
    put(model, "a/r/scale", np.float32(0))


def negative_weight_scale(model: onnx.ModelProto) -> None:
    put(model, "a/w/scale", -held(model, "a/w/scale"))


def infinite_scale(model: onnx.ModelProto) -> None:
    put(model, "a/r/scale", np.float32(np.inf))


def double_scale(model: onnx.ModelProto) -> None:
    put(model, "a/r/scale", np.float64(0.01))


def many_scales(model: onnx.ModelProto) -> None:
    put(model, "a/r/scale", np.full(8, 0.01, np.float32))
    put(model, "a/r/zero_point", np.zeros(8, np.int8))


def other_scale_back(model: onnx.ModelProto) -> None:
    put(model, "other", np.float32(0.5))
    node(model, "a/r/DequantizeLinear").input[1] = "other"


def quantised_twice(model: onnx.ModelProto) -> None:
    at = [each.name for each in model.graph.node].index("a/r/DequantizeLinear")
    held_by = ["a/r/scale", "a/r/zero_point"]
    model.graph.node.insert(
        at + 1, helper.make_node("QuantizeLinear", ["a/r", *held_by], ["second_q"], "second")
    )
    model.graph.node.insert(
        at + 2, helper.make_node("DequantizeLinear", ["second_q", *held_by], ["second_dq"], "back")
    )
    node(model, "b").input[0] = "second_dq"


def float_input(model: onnx.ModelProto) -> None:
    node(model, "b").input[0] = "a/r"


def one_side_of_the_addition(model: onnx.ModelProto) -> None:
    node(model, "residual").input[1] = "b/y"


def float_matrix(model: onnx.ModelProto) -> None:
    node(model, "dense").input[0] = "flat"


def unused_constant(model: onnx.ModelProto) -> None:
    put(model, "left_over", np.float32([1]))


def float_bulk(model: onnx.ModelProto) -> None:
    put(model, "bulk", np.zeros(1 << 15, np.float32))
    model.graph.node.append(helper.make_node("Relu", ["bulk"], ["bulk_r"], "bulk_relu"))


def custom_domain(model: onnx.ModelProto) -> None:
    node(model, "a/r/QuantizeLinear").domain = "com.microsoft"


def custom_set(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11


def cycle_of_types(model: onnx.ModelProto) -> None:
    node(model, "a").input[1] = "a/w/quantized"


def external_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (unsigned, "zero point is uint8"),
        (offset, "a/r/QuantizeLinear \\(QuantizeLinear\\): its zero point is not 0"),
        (no_zero_point, "zero point is missing"),
        (offset_weight, "a/w/DequantizeLinear \\(DequantizeLinear\\): its zero point is not 0"),
        (integer_bias, "constant bias_q is int32, not int8"),
        (qlinear, "a \\(QLinearConv\\): only QuantizeLinear"),
        (float_weight, "a \\(Conv\\): its input a/w is not quantised"),
        (weight_quantised_at_run_time, "it quantises the constant a/w: store it as int8"),
        (one_scale_for_all_channels, "not one scale for each channel of axis 0"),
        (another_axis, "not one scale for each channel of axis 0"),
        (most_negative_weight, "has -128"),
        (scale_of_zero, "a/r/QuantizeLinear .* not finite and above 0"),
        (negative_weight_scale, "a/w/DequantizeLinear .* not finite and above 0"),
        (infinite_scale, "not finite and above 0"),
        (double_scale, "scale is not a float32 constant"),
        (many_scales, "8 scales for an activation"),
        (other_scale_back, "its scale is not that of a/r/QuantizeLinear"),
        (quantised_twice, "a/r is quantised 2 times"),
        (float_input, "b \\(Conv\\): its input a/r is not quantised"),
        (one_side_of_the_addition, "residual \\(Add\\): one input is quantised"),
        (float_matrix, "dense \\(MatMul\\): its input flat is not quantised"),
        (unused_constant, "left_over is not used"),
        (float_bulk, "weights are stored as float"),
        (custom_domain, "custom domain 'com.microsoft'"),
        (custom_set, "custom operator set 'com.microsoft'"),
        (old_opset, "opset is 11"),
        (cycle_of_types, "a/w/quantized is not quantised"),
        (external_constant, "lies outside the file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_violation_is_named(break_it: Callable[[onnx.ModelProto], None], message: str) -> None:
    made = copied()
    break_it(made)
    with pytest.raises(BundleError, match=message):
        check_int8(made)


def test_a_float_model_is_no_int8_model() -> None:
    with pytest.raises(BundleError, match="nothing is quantised"):
        check_int8(FLOAT)


def test_a_float_node_that_is_not_there_or_not_float() -> None:
    found = find_violations(GOOD, float_nodes=["nowhere", "a"])
    assert "the node nowhere, to be kept float, is not there" in found
    assert "a (Conv): to be kept float, it reads pooled/dequantized" in found


def test_every_violation_is_counted() -> None:
    made = copied()
    scale_of_zero(made)
    unused_constant(made)
    with pytest.raises(BundleError, match="in 3 places"):  # the pair shares its scale
        check_int8(made)
