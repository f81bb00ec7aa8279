from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hypothesis.extra.numpy as hnp
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import residual
import toy
from scanside.errors import BundleError
from scanside.onnxgraph import attribute, make_node, read_graph
from scanside.onnxtensor import make_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = ["<f4", "u1", "i1", "<i4", "<i8", "<f2"]
ARRAYS = st.sampled_from(TYPES).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=6)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
ATTRIBUTES = st.one_of(
    INT64, st.binary(max_size=5), st.floats(width=32, allow_nan=False),
    st.lists(INT64, min_size=1, max_size=4),
)  # fmt: skip


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Models of any form: what they would compute makes no sense."""
    nodes = [
        helper.make_node(
            draw(NAMES), draw(st.lists(NAMES, max_size=3)), draw(st.lists(NAMES, max_size=2)),
            name=draw(st.one_of(st.none(), NAMES)), domain=draw(st.one_of(st.none(), NAMES)),
            **draw(st.dictionaries(st.sampled_from(["a", "b", "axis"]), ATTRIBUTES, max_size=2)),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    held = draw(st.dictionaries(NAMES, ARRAYS, max_size=3))
    graph = helper.make_graph(
        nodes, draw(NAMES),
        [helper.make_tensor_value_info("x", draw(st.integers(1, 10)), ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
        doc_string=draw(st.one_of(st.none(), NAMES)),
        value_info=[helper.make_tensor_value_info("v", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    model = helper.make_model(graph, producer_name=draw(NAMES))
    helper.set_model_props(model, {"key": draw(NAMES)})
    return model


@given(models())
def test_an_unedited_model_is_the_same_bytes(model: onnx.ModelProto) -> None:
    content = model.SerializeToString()
    assert read_graph(content).encoded() == content


@given(models())
def test_what_is_read_is_what_onnx_reads(model: onnx.ModelProto) -> None:
    graph = read_graph(model.SerializeToString())
    for node, wanted in zip(graph.nodes, model.graph.node, strict=True):
        assert (node.op_type, node.name, node.domain) == (
            wanted.op_type, wanted.name, wanted.domain,
        )  # fmt: skip
        assert (node.inputs, node.outputs) == (tuple(wanted.input), tuple(wanted.output))
        for entry in wanted.attribute:
            value = helper.get_attribute_value(entry)
            assert node.get(entry.name) == (tuple(value) if isinstance(value, list) else value)
    for tensor in model.graph.initializer:
        found, wanted_array = graph.constants[tensor.name].array(), numpy_helper.to_array(tensor)
        assert found is not None
        assert found.dtype == wanted_array.dtype
        np.testing.assert_array_equal(found, wanted_array)
    declared = model.graph.input[0].type.tensor_type
    sides = tuple(side.dim_value for side in declared.shape.dim)
    assert graph.inputs == {"x": (declared.elem_type, sides)}
    assert graph.outputs == ("y",)


@given(models(), st.data())
def test_an_edited_node_changes_nothing_else(model: onnx.ModelProto, data: st.DataObject) -> None:
    if not model.graph.node:
        return
    n = data.draw(st.integers(0, len(model.graph.node) - 1))
    graph = read_graph(model.SerializeToString())
    graph.nodes[n] = replace(graph.nodes[n], inputs=("new", ""))
    del model.graph.node[n].input[:]
    model.graph.node[n].input.extend(["new", ""])
    read = onnx.load_from_string(graph.encoded())
    # An absent name and an empty one are the same.
    for one in (read, model):
        one.graph.node[n].name = one.graph.node[n].name or ""
    assert read == model


@given(ARRAYS, NAMES)
def test_a_new_constant_is_what_onnx_reads(values: NDArray[Any], name: str) -> None:
    graph = read_graph(residual.build().SerializeToString())
    graph.constants[name] = make_tensor(name, values)
    read = {t.name: t for t in onnx.load_from_string(graph.encoded()).graph.initializer}
    found = numpy_helper.to_array(read[name])
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("value", [0, 7, -1, [2, 3], [-1, 1 << 40]])
def test_a_new_attribute_is_what_onnx_reads(value: int | list[int]) -> None:
    graph = read_graph(residual.build().SerializeToString())
    graph.nodes.append(make_node("Some", ["a"], ["b"], "made", attribute("axis", value)))
    made = onnx.load_from_string(graph.encoded()).graph.node[-1]
    assert made == helper.make_node("Some", ["a"], ["b"], "made", axis=value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [(TensorProto.FLOAT, [1.5, -2.0]), (TensorProto.INT8, [-128, 127]),
     (TensorProto.UINT8, [0, 255]), (TensorProto.INT32, [-5, 5]), (TensorProto.INT64, [-1, 9])],
)  # fmt: skip
def test_values_that_are_not_stored_raw(kind: int, values: list[float]) -> None:
    model = residual.build()
    model.graph.initializer.append(helper.make_tensor("typed", kind, [2], values))
    found = read_graph(model.SerializeToString()).constants["typed"].array()
    assert found is not None
    assert found.tolist() == values


def test_types_declared_for_what_an_edited_node_makes_are_left_out() -> None:
    model = onnx.shape_inference.infer_shapes(residual.build())
    graph = read_graph(model.SerializeToString())
    changed = graph.nodes[5]
    graph.nodes[5] = replace(changed)
    declared = {value.name for value in model.graph.value_info}
    left = {value.name for value in onnx.load_from_string(graph.encoded()).graph.value_info}
    assert declared - left == set(changed.outputs)


def test_a_graph_in_a_node_is_noticed() -> None:
    inner = helper.make_graph([], "inner", [], [])
    model = residual.build()
    assert not read_graph(model.SerializeToString()).nested
    model.graph.node.append(helper.make_node("If", ["c"], [], then_branch=inner))
    assert read_graph(model.SerializeToString()).nested


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\x3a\xff", b"\x3a\x05\x0a", b"\x3a\x00\x3a\x00", b"\x38\x01",
     b"\x3a\x04\x0a\x02\x0a\x09", b"\x3a\x05\x0a\x03\x22\x01\xff", b"\xff" * 20],
)  # fmt: skip
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="no ONNX model"):
        read_graph(content)


def test_two_constants_of_one_name_are_refused() -> None:
    model = residual.build()
    model.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(BundleError, match="two tensors"):
        read_graph(model.SerializeToString())


def test_a_constant_whose_bytes_are_not_of_its_shape_is_refused() -> None:
    model = residual.build()
    tensor = model.graph.initializer[0]
    tensor.raw_data += bytes(4)
    with pytest.raises(BundleError, match="the shape"):
        read_graph(model.SerializeToString()).constants[tensor.name].array()


@given(st.data())
def test_damage_is_an_error_of_scanside_or_none(data: st.DataObject) -> None:
    content = bytearray(toy.classifier().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    for one in (bytes(content), cut):
        with suppress(BundleError):
            graph = read_graph(one)
            for tensor in graph.constants.values():
                tensor.array()
            read_graph(graph.encoded())
