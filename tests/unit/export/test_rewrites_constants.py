from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export works on ONNX graphs: needs the train extra")

from onnx.helper import make_node, make_opsetid

from scanside_export.rewrites.constants import fold_constants, remove_dead

if TYPE_CHECKING:
    from conftest import Graphs

X = {"x": ["batch", 4]}
Y = {"y": ["batch", 4]}


def test_what_depends_on_constants_alone_is_computed(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("Mul", ["a", "b"], ["c"]),
            make_node("Sqrt", ["c"], ["d"]),
            make_node("Add", ["x", "d"], ["y"]),
        ],
        X,
        Y,
        a=np.float32(2),
        b=np.float32([8, 2, 0.5, 18]),
    )
    folded = remove_dead(fold_constants(model))
    assert graphs.types(folded) == ["Add"]
    assert [tensor.name for tensor in folded.graph.initializer] == ["d"]
    x = np.zeros((2, 4), np.float32)
    assert graphs.run(folded, x=x).tolist() == [[4, 2, 1, 6]] * 2


def test_a_constant_node_becomes_an_initializer_and_identity_goes(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("Constant", [], ["two"], value_float=2.0),
            make_node("Identity", ["x"], ["same"]),
            make_node("Mul", ["same", "two"], ["y"]),
        ],
        X,
        Y,
    )
    folded = fold_constants(model)
    assert graphs.types(folded) == ["Mul"]
    x = np.arange(4, dtype=np.float32)[None]
    assert graphs.run(folded, x=x).tolist() == [[0, 2, 4, 6]]


def test_chance_and_outputs_are_not_folded(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("RandomNormalLike", ["a"], ["noise"]),
            make_node("Add", ["x", "noise"], ["y"]),
            make_node("Identity", ["a"], ["z"]),
        ],
        X,
        Y | {"z": [4]},
        a=np.zeros(4, np.float32),
    )
    assert graphs.types(fold_constants(model)) == ["RandomNormalLike", "Add", "Identity"]


def test_a_constant_input_is_never_given_back_to_the_caller_changed(graphs: Graphs) -> None:
    model = graphs.make(
        [make_node("Neg", ["a"], ["b"]), make_node("Add", ["x", "b"], ["y"])], X, Y, a=np.float32(1)
    )
    before = model.SerializeToString(deterministic=True)
    remove_dead(fold_constants(model))
    assert model.SerializeToString(deterministic=True) == before


def test_what_no_output_needs_goes(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("Relu", ["x"], ["y"]),
            make_node("Shape", ["x"], ["s"]),
            make_node("Gather", ["s", "zero"], ["n"]),
        ],
        X,
        Y,
        zero=np.int64(0),
        unread=np.float32(3),
    )
    model.opset_import.append(make_opsetid("ai.onnx.ml", 2))
    model.graph.value_info.add(name="s")
    rest = remove_dead(model)
    assert graphs.types(rest) == ["Relu"]
    assert not rest.graph.initializer
    assert not rest.graph.value_info
    assert [entry.domain for entry in rest.opset_import] == [""]


def test_a_domain_that_is_used_stays(graphs: Graphs) -> None:
    model = graphs.make([make_node("Odd", ["x"], ["y"], domain="com.example")], X, Y)
    model.opset_import.append(make_opsetid("com.example", 1))
    assert [entry.domain for entry in remove_dead(model).opset_import] == ["", "com.example"]
