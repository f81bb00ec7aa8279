from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the export works on ONNX graphs: needs the train extra")

from onnx.helper import make_node

from scanside_export.rewrites.constants import remove_dead
from scanside_export.rewrites.layout import cancel_transposes, simplify_reshapes

if TYPE_CHECKING:
    from conftest import Graphs

SHAPE = ["batch", 3, 4, 5]


def test_two_transposes_that_cancel_go(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
            make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
            make_node("Relu", ["b"], ["y"]),
        ],
        {"x": SHAPE},
        {"y": SHAPE},
    )
    assert graphs.types(remove_dead(cancel_transposes(model))) == ["Relu"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(orders=st.lists(st.permutations([0, 1, 2, 3]), min_size=1, max_size=4))
def test_any_run_of_transposes_becomes_one_or_none(graphs: Graphs, orders: list[list[int]]) -> None:
    nodes = [
        make_node("Transpose", [f"t{at}" if at else "x"], [f"t{at + 1}"], perm=order)
        for at, order in enumerate(orders)
    ]
    nodes.append(make_node("Relu", [f"t{len(orders)}"], ["y"]))
    model = graphs.make(nodes, {"x": [2, 3, 4, 5]}, {"y": [None] * 4})  # type: ignore[list-item]
    short = remove_dead(cancel_transposes(model))
    assert graphs.types(short) in (["Relu"], ["Transpose", "Relu"])
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(graphs.run(short, x=x), graphs.run(model, x=x))


def test_a_transpose_that_others_read_stays(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
            make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
            make_node("Relu", ["b"], ["y"]),
            make_node("Relu", ["a"], ["z"]),
        ],
        {"x": SHAPE},
        {"y": SHAPE, "z": ["batch", 4, 5, 3]},
    )
    assert graphs.types(remove_dead(cancel_transposes(model))) == ["Transpose", "Relu", "Relu"]


def test_a_reshape_that_drops_an_axis_of_one_is_a_squeeze(graphs: Graphs) -> None:
    model = graphs.make(
        [make_node("Reshape", ["x", "shape"], ["y"])],
        {"x": ["batch", 1, 4, 5]},
        {"y": ["batch", 4, 5]},
        shape=np.int64([-1, 4, 5]),
    )
    simple = remove_dead(simplify_reshapes(model))
    assert graphs.types(simple) == ["Squeeze"]
    x = np.arange(40, dtype=np.float32).reshape(2, 1, 4, 5)
    np.testing.assert_array_equal(graphs.run(simple, x=x), x[:, 0])


def test_shape_arithmetic_in_front_of_a_reshape_goes(graphs: Graphs) -> None:
    """What the converter writes for Flatten: Shape, Slice, Concat."""
    model = graphs.make(
        [
            make_node("Shape", ["x"], ["s"]),
            make_node("Slice", ["s", "zero", "one", "zero"], ["n"]),
            make_node("Concat", ["n", "rest"], ["target"], axis=0),
            make_node("Reshape", ["x", "target"], ["y"], "flatten"),
        ],
        {"x": SHAPE},
        {"y": ["batch", 60]},
        zero=np.int64([0]),
        one=np.int64([1]),
        rest=np.int64([60]),
    )
    simple = remove_dead(simplify_reshapes(model))
    assert graphs.types(simple) == ["Reshape"]
    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(graphs.run(simple, x=x), x.reshape(2, 60))


def test_a_reshape_to_the_same_shape_goes(graphs: Graphs) -> None:
    model = graphs.make(
        [make_node("Reshape", ["x", "shape"], ["a"]), make_node("Relu", ["a"], ["y"])],
        {"x": SHAPE},
        {"y": SHAPE},
        shape=np.int64([-1, 3, 4, 5]),
    )
    assert graphs.types(simplify_reshapes(model)) == ["Relu"]


def test_a_reshape_into_the_batch_axis_stays(graphs: Graphs) -> None:
    model = graphs.make(
        [make_node("Reshape", ["x", "shape"], ["y"])],
        {"x": ["batch", 2, 3]},
        {"y": ["rows", 3]},
        shape=np.int64([-1, 3]),
    )
    simple = simplify_reshapes(model)
    assert graphs.types(simple) == ["Reshape"]
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_array_equal(graphs.run(simple, x=x), x.reshape(4, 3))
