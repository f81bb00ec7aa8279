"""Effects of layers, and the way back to float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scanside.errors import ParityError
from scanside_calibration.guard import Figure, Verdict
from scanside_calibration.sensitivity import Effect, FloatNodes, Layer, analyse, layers, roll_back

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scanside.contract import Role


def layer(name: str, macs: float = 0.05) -> Layer:
    return Layer(name, "Conv", macs)


def verdict(*blamed: Role) -> Verdict:
    figure = Figure("dice_drop", 0.8, 0.7, 0.1, 0.005, passed=not blamed)
    return Verdict((figure,), blamed, 9)


def test_the_layer_that_regains_most_comes_first() -> None:
    cost: dict[Role, dict[str, float]] = {
        "classifier": {"a": 0.1, "b": 0.4, "c": -0.1},
        "segmenter": {"d": 0.2},
    }

    def distance(float_nodes: FloatNodes) -> Mapping[Role, float]:
        return {
            role: sum(value for name, value in costs.items() if name not in float_nodes[role])
            for role, costs in cost.items()
        }

    told: list[int] = []
    found = analyse(
        {role: [layer(name) for name in costs] for role, costs in cost.items()},
        distance,
        told.append,
    )
    assert [each.layer.node for each in found["classifier"]] == ["b", "a", "c"]
    assert [each.regained for each in found["classifier"]] == pytest.approx([0.4, 0.1, -0.1])
    assert [each.regained for each in found["segmenter"]] == pytest.approx([0.2])
    assert told == [1, 2, 3]


def test_of_equal_layers_the_cheaper_comes_first() -> None:
    found = analyse(
        {"segmenter": [layer("dear", 0.2), layer("cheap", 0.1)]}, lambda _: {"segmenter": 1.0}
    )
    assert [each.layer.node for each in found["segmenter"]] == ["cheap", "dear"]


EFFECTS: dict[Role, tuple[Effect, ...]] = {
    "classifier": tuple(Effect(layer(f"c{n}"), 0.9 - n / 10) for n in range(5)),
    "segmenter": (
        Effect(layer("big", 0.9), 1.0),
        Effect(layer("s0"), 0.5),
        Effect(layer("s1"), 0.4),
        Effect(layer("harmless"), 0.0),
        Effect(layer("helps"), -0.3),
    ),
}
NONE: FloatNodes = {"classifier": frozenset(), "segmenter": frozenset()}


def holding_with(*needed: str, role: Role) -> Callable[[FloatNodes], Verdict]:
    return lambda nodes: verdict() if set(needed) <= nodes[role] else verdict(role)


def test_a_guard_that_holds_costs_no_analysis() -> None:
    def never() -> Mapping[Role, tuple[Effect, ...]]:
        raise AssertionError

    (only,) = roll_back(NONE, lambda _: verdict(), never)
    assert only.float_nodes == NONE


def test_the_worst_layers_go_back_a_few_at_a_time() -> None:
    rounds = roll_back(
        NONE, holding_with("c0", "c3", role="classifier"), lambda: EFFECTS, at_once=2
    )
    assert [sorted(each.float_nodes["classifier"]) for each in rounds] == [
        [], ["c0", "c1"], ["c0", "c1", "c2", "c3"],
    ]  # fmt: skip
    assert all(not each.float_nodes["segmenter"] for each in rounds), "it was not blamed"
    assert rounds[-1].verdict.passed
    assert NONE["classifier"] == frozenset(), "what was given is not changed"


def test_a_layer_that_is_too_large_is_passed_over() -> None:
    rounds = roll_back(NONE, holding_with("s1", role="segmenter"), lambda: EFFECTS)
    assert rounds[-1].float_nodes["segmenter"] == {"s0", "s1"}


@pytest.mark.parametrize("needed", ["big", "harmless", "helps"])
def test_where_nothing_helps_it_is_refused(needed: str) -> None:
    with pytest.raises(ParityError, match=r"dice_drop 0\.1000, limit 0\.005") as refused:
        roll_back(NONE, holding_with(needed, role="segmenter"), lambda: EFFECTS)
    assert "25%" in str(refused.value)
    assert "2 layers in float" in str(refused.value)
    assert refused.value.exit_code == 5


def test_the_share_in_float_is_kept() -> None:
    with pytest.raises(ParityError, match="3 layers in float"):
        roll_back(
            NONE, holding_with("c4", role="classifier"), lambda: EFFECTS, most_float=0.16, at_once=1
        )


def test_multiply_accumulates_are_counted() -> None:
    weights = {"w1": np.zeros((4, 3, 3, 3), np.float32), "w2": np.zeros((8, 2, 1, 1), np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"], name="relu"),
            helper.make_node("Conv", ["b", "w2"], ["y"], name="grouped", strides=[2, 2], group=2),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, 8, 8])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    first, grouped = 4 * 27 * 256, 8 * 2 * 64
    found = layers(model, ["first", "relu", "grouped"])
    assert [each.op_type for each in found] == ["Conv", "Relu", "Conv"]
    assert [each.macs for each in found] == pytest.approx(
        [first / (first + grouped), 0, grouped / (first + grouped)]
    )
