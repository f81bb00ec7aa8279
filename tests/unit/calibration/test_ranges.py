"""Ranges: hand-made graphs whose values are known, and a comparison with NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from scanside.errors import BundleError, InputError
from scanside_calibration.ranges import float_activations, measure_ranges


def graph(*nodes: onnx.NodeProto, constants: dict[str, float] | None = None) -> onnx.ModelProto:
    """A model from ``image`` to the last node's output, which has four axes."""
    held = [numpy_helper.from_array(np.float32(v), k) for k, v in (constants or {}).items()]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT, name="cast"), *nodes],
            "test",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4, 4, 3])],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, list("abcd"))],
            held,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def scaled() -> onnx.ModelProto:
    return graph(
        helper.make_node("Sub", ["x", "b"], ["y"], name="sub"),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
        constants={"b": 100.0},
    )


@given(st.lists(st.integers(0, 255), min_size=1, max_size=6), st.integers(1, 3))
def test_the_ranges_are_those_of_numpy(values: list[int], size: int) -> None:
    images = np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])
    images[:, 0, 0, 0] = 7
    found = measure_ranges(
        scaled(), (images[at : at + size] for at in range(0, len(images), size)), threads=1
    )
    floats = images.astype(np.float32)
    wanted = {"x": floats, "y": floats - 100, "z": np.maximum(floats - 100, 0)}
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert (found[name].minimum, found[name].maximum) == (value.min(), value.max())
        assert found[name].largest == np.abs(value).max()
    assert [found[name].node for name in wanted] == ["cast", "sub", "relu"]


def test_only_the_tensors_asked_for_are_measured() -> None:
    images = np.zeros((1, 4, 4, 3), np.uint8)
    assert list(measure_ranges(scaled(), [images], tensors={"z"}, threads=1)) == ["z"]


def test_the_model_is_not_changed() -> None:
    model = scaled()
    before = model.SerializeToString(deterministic=True)
    measure_ranges(model, [np.zeros((2, 4, 4, 3), np.uint8)], threads=1)
    assert model.SerializeToString(deterministic=True) == before


def test_a_single_nan_is_found_and_named() -> None:
    # sqrt(x - 100) is NaN for dark pixels only, and the maximum of a tensor may step over it.
    model = graph(
        helper.make_node("Sub", ["x", "b"], ["y"], name="sub"),
        helper.make_node("Sqrt", ["y"], ["r"], name="root"),
        helper.make_node("Relu", ["r"], ["z"], name="relu"),
        constants={"b": 100.0},
    )
    image = np.full((1, 4, 4, 3), 200, np.uint8)
    assert measure_ranges(model, [image], threads=1)["r"].maximum == 10
    for at in ((0, 0, 0, 0), (0, 2, 1, 1), (0, 3, 3, 2)):
        spoilt = image.copy()
        spoilt[at] = 0
        with pytest.raises(BundleError, match="r, made by the node root, on slices 2 to 2"):
            measure_ranges(model, [image, spoilt], threads=1)


def test_infinity_is_found() -> None:
    model = graph(helper.make_node("Exp", ["x"], ["e"], name="exp"))
    with pytest.raises(BundleError, match="e, made by the node exp"):
        measure_ranges(model, [np.full((1, 4, 4, 3), 255, np.uint8)], threads=1)


def test_a_sum_of_magnitudes_that_overflows_is_no_infinity() -> None:
    model = graph(helper.make_node("Mul", ["x", "big"], ["y"], name="mul"), constants={"big": 1e36})
    found = measure_ranges(model, [np.full((1, 4, 4, 3), 255, np.uint8)], threads=1)
    assert found["y"].maximum == pytest.approx(2.55e38)


def test_no_slices_are_refused() -> None:
    with pytest.raises(InputError, match="no slices"):
        measure_ranges(scaled(), [], threads=1)


def test_tensors_of_other_types_are_left_out() -> None:
    model = graph(
        helper.make_node("Shape", ["x"], ["s"], name="shape"),
        helper.make_node("Relu", ["x"], ["z"]),
    )
    assert float_activations(model) == {"x": "cast", "z": "z"}
