"""INT8 with FP16 around it: the same model in other types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from small import open_small

pytest.importorskip("onnx", reason="the graphs are made with onnx: needs the test extra")
import onnx
from onnx import TensorProto, helper, numpy_helper

from scanside.errors import BundleError
from scanside.golden import read_golden
from scanside_calibration.int8.placement import activations, quantise
from scanside_export.engine.declared import meant_int8
from scanside_export.engine.typed import OPSET, with_half

if TYPE_CHECKING:
    from numpy.typing import NDArray

AMAX = 6.0
"""A range for every activation: what it does to accuracy does not matter here."""


def an_int8(role: Any) -> bytes:
    model = onnx.load_from_string(open_small().read_model(role, "fp32"))
    found: bytes = quantise(model, dict.fromkeys(activations(model), AMAX)).SerializeToString()
    return found


def run(content: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute a graph as it is written; the optimiser does not know FP16 scales well."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"image": images})[0]
    return found


@pytest.mark.parametrize("scale_after", [False, True])
@pytest.mark.parametrize(("role", "convolutions"), [("classifier", 53), ("segmenter", 28)])
def test_the_models_of_the_bundle(role: str, convolutions: int, *, scale_after: bool) -> None:
    content = an_int8(role)
    half = with_half(content, scale_after=scale_after)
    model = onnx.load_from_string(half)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    assert model.opset_import[0].version == OPSET
    assert len(meant_int8(content)) >= convolutions
    assert meant_int8(half) == meant_int8(content)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    written = [types[n.output[0]] for n in model.graph.node if n.op_type == "Conv"]
    assert written == [TensorProto.FLOAT16] * convolutions
    before = onnx.load_from_string(content)
    assert list(model.graph.input) == list(before.graph.input)
    assert list(model.graph.output) == list(before.graph.output)
    images = read_golden(open_small()).images[:2]
    one, other = run(content, images), run(half, images)
    assert other.dtype == np.float32
    assert np.isfinite(other).all()
    # FP16 rounds on the other side of a quantised step now and then, which spreads.
    assert np.abs(one - other).mean() < 0.02


def a_model(
    scales: NDArray[np.float32], *, op: str = "Relu", gain: float = 1.0, activation: float = 0.05
) -> bytes:
    """Quantise -> convolution of one weight a channel -> operator."""
    channels = len(scales)
    constants = {
        "s": np.float32(activation), "z": np.int8(0), "ws": scales,
        "wz": np.zeros(channels, np.int8), "w": np.full((channels, 3, 1, 1), 100, np.int8),
        "b": np.linspace(-1, 1, channels, dtype=np.float32) * np.float32(gain),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], "cast", to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "dq"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "dqw", axis=0),
        helper.make_node("Conv", ["xd", "wd", "b"], ["y"], "conv"),
        helper.make_node(op, ["y"], ["out"], "last"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found: bytes = model.SerializeToString()
    return found


IMAGES = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4) % 7


@pytest.mark.parametrize("scale_after", [False, True])
@pytest.mark.parametrize("op", ["Relu", "Sigmoid"])
def test_scales_of_very_different_channels(op: str, *, scale_after: bool) -> None:
    """A channel that training has switched off has a scale that is nothing in FP16."""
    content = a_model(np.float32([1e-3, 2e-2, 1e-9, 3e-5]), op=op)
    half = with_half(content, scale_after=scale_after)
    np.testing.assert_allclose(run(half, IMAGES), run(content, IMAGES), atol=0.02, rtol=0.01)
    model = onnx.load_from_string(half)
    for tensor in model.graph.initializer:
        assert np.isfinite(numpy_helper.to_array(tensor)).all()
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_scaled_after_the_convolution_a_weight_has_one_scale() -> None:
    model = onnx.load_from_string(with_half(a_model(np.float32([1e-3, 2e-3])), scale_after=True))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weight = next(node for node in model.graph.node if node.name == "dqw")
    assert held[weight.input[1]].shape == ()
    assert [n.op_type for n in model.graph.node if n.name.startswith("conv")] == [
        "Conv",
        "Mul",
        "Add",
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gain": 1e6}, "b reaches 1e[+]06, which FP16 does not hold"),
        ({"activation": 1e-6}, "too small for FP16"),
        ({"activation": 1e4}, "which FP16 does not hold"),
        ({"op": "Softplus"}, "Softplus"),
    ],
)
def test_what_fp16_can_not_hold_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=f"{said}.*--int8-rest fp32"):
        with_half(a_model(np.float32([1e-3]), **changed))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(BundleError):
        with_half(b"\x0a\xff")
