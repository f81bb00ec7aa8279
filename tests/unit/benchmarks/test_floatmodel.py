from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import toy
from peerbench.floatmodel import count_macs, dequantised

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _images() -> NDArray[np.uint8]:
    return np.stack([toy.lesion_slice(n, lesion=n % 2 == 0) for n in range(4)])


@pytest.mark.parametrize("make", [toy.classifier, toy.segmenter])
def test_a_float_model_stays_as_it_is(make: object) -> None:
    model = make()  # type: ignore[operator]
    assert dequantised(model).graph == model.graph


def test_quantised_and_back_is_nearly_the_same_function() -> None:
    from scanside_calibration.int8.methods import Method, calibrate
    from scanside_calibration.int8.placement import quantise

    model, images = _small(), _images()
    amax = calibrate(model, [images], [Method.MAX])[Method.MAX]
    int8 = quantise(model, amax)
    back = dequantised(int8)
    kinds = {node.op_type for node in back.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in int8.graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}
    assert [n.name for n in back.graph.node] == [n.name for n in model.graph.node]
    wanted = toy.run(model.SerializeToString(), images)
    found = toy.run(back.SerializeToString(), images)
    assert found == pytest.approx(wanted, abs=0.02)
    assert not np.array_equal(found, wanted)  # the weights were rounded


def test_an_image_that_is_the_quantised_input_is_scaled() -> None:
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["image", "s", "z"], ["y"], name="in")],
        "direct",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(np.float32(1 / 128), "s"),
            numpy_helper.from_array(np.uint8(128), "z"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    image = np.array([[0, 1, 128, 255]], np.uint8)
    found = toy.run(dequantised(model).SerializeToString(), image)
    assert np.array_equal(found, [[-1.0, -127 / 128, 0.0, 127 / 128]])


def test_what_has_no_float_counterpart_is_refused() -> None:
    model = _small()
    model.graph.node[-1].op_type = "QLinearMatMul"
    with pytest.raises(ValueError, match="QLinearMatMul"):
        dequantised(model)


def test_multiplications_are_counted() -> None:
    # 3x3 from 3 to 8 channels at half of 256 x 256, then 8 to 1.
    assert count_macs(_small()) == 128 * 128 * 8 * 3 * 9 + 8


def _small() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {
        "scale/b": np.float32(1 / 128),
        "shift/b": np.float32(-1),
        "first_conv/weight": rng.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32),
        "first_conv/bias": rng.normal(0, 0.1, 8).astype(np.float32),
        "axes": np.int64([2, 3]),
        "last/weight": rng.normal(0, 1, (8, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["c"], name="scale/Cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c", "scale/b"], ["m"], name="scale/Mul"),
        helper.make_node("Add", ["m", "shift/b"], ["a"], name="scale/Add"),
        helper.make_node("Transpose", ["a"], ["t"], name="scale/Transpose", perm=[0, 3, 1, 2]),
        helper.make_node(
            "Conv", ["t", "first_conv/weight", "first_conv/bias"], ["f"], name="first_conv/Conv",
            strides=[2, 2], pads=[0, 0, 1, 1],
        ),
        helper.make_node("Relu", ["f"], ["r"], name="first_relu/Relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool/GlobalAveragePool"),
        helper.make_node("Squeeze", ["g", "axes"], ["q"], name="pool/Squeeze"),
        helper.make_node("MatMul", ["q", "last/weight"], ["l"], name="last/MatMul"),
        helper.make_node("Sigmoid", ["l"], ["p"], name="p/Sigmoid"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 256, 256, 3])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
