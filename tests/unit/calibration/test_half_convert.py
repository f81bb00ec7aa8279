"""Typed graphs: hand-made, drawn at random, and checked by rules of their own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import toy
from scanside.errors import BundleError, InternalError
from scanside_calibration.half.check import check_typed, find_type_violations
from scanside_calibration.half.convert import convert
from scanside_calibration.half.graphs import key, read_float_graph
from scanside_calibration.half.plan import plan_types
from scanside_calibration.half.weights import round_constants

SIDE = 8


def network(steps: list[str], seed: int = 0) -> onnx.ModelProto:
    """A chain with a skip connection: one node for each operator's name."""
    random = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Cast", ["image"], ["t0"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Mul", ["t0", "unit"], ["u"], name="scale"),
        helper.make_node("Transpose", ["u"], ["t1"], perm=[0, 3, 1, 2], name="transpose"),
    ]
    held: dict[str, Any] = {
        "scales": np.float32([1, 1, 1, 1]),
        "c": np.float32(0.5),
        "unit": np.float32(1 / 256),
    }
    last, skip = "t1", "t1"
    for at, step in enumerate(steps, 2):
        inputs = {
            "Conv": [last, f"w{at}", f"b{at}"],
            "Add": [last, skip],
            "Mul": [last, "c"],
            "Resize": [last, "", "scales"],
        }.get(step, [last])
        if step == "Conv":
            held[f"w{at}"] = random.normal(0, 0.3, (3, 3, 1, 1)).astype(np.float32)
            held[f"b{at}"] = random.normal(0, 0.1, 3).astype(np.float32)
        nodes.append(helper.make_node(step, inputs, [f"t{at}"], name=f"{step}{at}"))
        skip, last = (last, f"t{at}") if step == "Conv" else (skip, f"t{at}")
    used = {name for node in nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [numpy_helper.from_array(v, k) for k, v in held.items() if k in used],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


steps = st.lists(
    st.sampled_from(["Conv", "Add", "Mul", "Relu", "Resize", "Sigmoid", "Tanh"]),
    min_size=1,
    max_size=8,
)


@given(steps, st.data())
def test_any_choice_of_nodes_gives_a_well_typed_graph(path: list[str], data: st.DataObject) -> None:
    model = network(path)
    floats = read_float_graph(model)
    beyond = data.draw(st.sets(st.sampled_from(sorted(floats.activations))))
    largest = {name: 9e9 if name in beyond else 1.0 for name in floats.activations}
    why = plan_types(floats, largest, {}, [], limit=8188)
    half = convert(model, floats, why)
    check_typed(half)
    onnxruntime.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"])
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    output = model.graph.output[0].name
    for node in floats.nodes:
        name = node.output[0]
        made = types.get(f"{name}/half", types[name]) if name == output else types[name]
        assert (made == TensorProto.FLOAT16) == (key(node) not in why)
        if name in beyond:
            assert types[name] == TensorProto.FLOAT, "a value beyond FP16 was made in FP16"
            assert f"{name}/half" not in types, "a value beyond FP16 was cast to FP16"
    # One Cast for each change of type, whatever number of nodes reads it.
    sources = Counter(n.input[0] for n in half.graph.node if n.op_type == "Cast")
    assert max(sources.values()) == 1


@given(steps, st.integers(0, 99))
def test_the_typed_graph_computes_the_same_but_for_rounding(path: list[str], seed: int) -> None:
    model = network(["Conv", *path], seed)
    floats = read_float_graph(model)
    largest = dict.fromkeys(floats.activations, 1.0)
    half = convert(model, floats, plan_types(floats, largest, {}, [], limit=8188))
    image = np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    with np.errstate(all="ignore"):
        wanted = ReferenceEvaluator(model).run(None, {"image": image})[0]
        found = ReferenceEvaluator(half).run(None, {"image": image})[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02 * (1 + np.abs(wanted).max()))


def test_neighbouring_float32_nodes_need_one_cast_in_and_one_out() -> None:
    model = network(["Conv", "Relu", "Sigmoid", "Tanh", "Mul", "Sigmoid", "Conv"])
    floats = read_float_graph(model)
    why = plan_types(floats, dict.fromkeys(floats.activations, 1.0), {}, [], limit=8188)
    assert list(why) == ["t4", "t5", "t6", "t7"]
    assert "without a convolution" in why["t6"]
    half = convert(model, floats, why)
    casts = [(n.input[0], n.output[0]) for n in half.graph.node if n.op_type == "Cast"]
    assert casts == [
        ("image", "t0"), ("t3", "t3/float"), ("t7", "t7/half"), ("t8/half", "t8")
    ]  # fmt: skip


def test_the_scaling_of_the_input_is_exact_in_fp16() -> None:
    model = toy.classifier()
    floats = read_float_graph(model)
    half = convert(model, floats, [key(n) for n in floats.nodes if n.op_type == "Sigmoid"])
    image = np.arange(256 * 256 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 256, 256, 3)
    values = ReferenceEvaluator(half).run(None, {"image": image}, intermediate=True)
    assert values["nchw"].dtype == np.float16
    wanted = np.moveaxis((image.astype(np.float64) - 128) / 128, 3, 1)
    np.testing.assert_array_equal(values["nchw"].astype(np.float64), wanted)


def test_constants_that_two_types_read_are_there_twice_and_others_once() -> None:
    model = network(["Conv", "Mul", "Sigmoid", "Mul"])
    floats = read_float_graph(model)
    half = convert(model, floats, ["t4", "t5"])
    types = {t.name: t.data_type for t in half.graph.initializer}
    assert (types["c"], types["c/half"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)
    assert "w2" not in types
    assert types["w2/half"] == TensorProto.FLOAT16


@pytest.mark.parametrize("kind", ["half", "quantised"])
def test_models_that_are_not_fp32_are_refused(kind: str) -> None:
    model = network(["Conv"])
    if kind == "half":
        model = convert(model, read_float_graph(model), [])
    else:
        model.graph.node.append(helper.make_node("QuantizeLinear", ["t2", "c"], ["q"]))
    with pytest.raises(BundleError, match="not FP32 throughout"):
        read_float_graph(model)


def cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=to, name=f"make_{target}")


def test_the_check_finds_planted_faults() -> None:
    floats = read_float_graph(network(["Conv", "Relu"]))
    sound = convert(network(["Conv", "Relu"]), floats, [])
    assert find_type_violations(sound) == []
    chain = onnx.ModelProto()
    chain.CopyFrom(sound)
    chain.graph.node[-1].input[0] = "again"
    chain.graph.node.insert(len(chain.graph.node) - 1, cast("t3/half", "up", TensorProto.FLOAT))
    chain.graph.node.insert(len(chain.graph.node) - 1, cast("up", "again", TensorProto.FLOAT16))
    assert any("casts what was just cast" in line for line in find_type_violations(chain))
    idle = onnx.ModelProto()
    idle.CopyFrom(sound)
    idle.graph.node.append(cast("t2", "idle", TensorProto.FLOAT16))
    assert find_type_violations(idle) == ["make_idle changes nothing"]
    mixed = onnx.ModelProto()
    mixed.CopyFrom(sound)
    mixed.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    mixed.graph.node.append(helper.make_node("Add", ["t2", "one"], ["m"]))
    with pytest.raises(InternalError, match="valid ONNX"):
        check_typed(mixed)


@given(st.floats(1e-9, 1e-3), st.integers(1, 6))
def test_rounding_is_counted_and_bounded(size: float, seed: int) -> None:
    model = network(["Conv"])
    value = np.random.default_rng(seed).normal(0, size, (3, 3, 1, 1)).astype(np.float32)
    next(t for t in model.graph.initializer if t.name == "w2").CopyFrom(
        numpy_helper.from_array(value, "w2")
    )
    floats = read_float_graph(model)
    node = floats.nodes[-1]
    weight, _ = round_constants(node, floats, {"t1": 255.0, "t2": 1.0})
    half = value.astype(np.float16).astype(np.float32)
    assert weight.zeroed == ((value != 0) & (half == 0)).sum()
    assert weight.overflowed == 0
    tiny = np.abs(value) < 2.0**-14
    assert weight.zeroed + weight.subnormal == (tiny & (value != 0)).sum()
    lost = np.abs(np.where(tiny, value - half, 0)).astype(np.float64)
    assert weight.loss == pytest.approx(lost.sum(axis=1).max() * 255)


def test_weights_beyond_fp16_keep_their_node_in_float32() -> None:
    model = network(["Conv", "Conv"])
    weight = next(t for t in model.graph.initializer if t.name == "w2")
    weight.CopyFrom(numpy_helper.from_array(np.full((3, 3, 1, 1), 7e4, np.float32), "w2"))
    floats = read_float_graph(model)
    largest = dict.fromkeys(floats.activations, 1.0)
    roundings = [r for n in floats.nodes for r in round_constants(n, floats, largest)]
    why = plan_types(floats, largest, {}, roundings, limit=8188)
    assert why["t2"] == "9 values of w2 are beyond FP16"
    assert "t3" not in why


def test_weights_that_fp16_would_lose_keep_their_node_in_float32() -> None:
    model = network(["Conv", "Conv"])
    weight = next(t for t in model.graph.initializer if t.name == "w2")
    weight.CopyFrom(numpy_helper.from_array(np.full((3, 3, 1, 1), 1e-8, np.float32), "w2"))
    floats = read_float_graph(model)
    largest = dict.fromkeys(floats.activations, 1e-6)
    largest["t1"] = 255.0
    roundings = [r for n in floats.nodes for r in round_constants(n, floats, largest)]
    why = plan_types(floats, largest, {}, roundings, limit=8188)
    assert why["t2"].startswith("9 values of w2 are below FP16's normal numbers")
