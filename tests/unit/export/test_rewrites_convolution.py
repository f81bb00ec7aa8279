from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the export works on ONNX graphs: needs the train extra")

from onnx.helper import make_node

from scanside_export.rewrites.convolution import fold_affine, foldable

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from conftest import Graphs

RNG = np.random.default_rng(7)
INPUT = {"x": ["batch", 4, 6, 6]}
STEPS = ("Add", "Sub", "Mul", "Div", "BatchNormalization", "AddScalar", "MulFirst")


def values(*shape: int) -> NDArray[np.float32]:
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


def chain(
    graphs: Graphs, steps: list[str], *, group: int = 1, bias: bool = True
) -> onnx.ModelProto:
    """A convolution to 8 channels and the steps behind it."""
    constants: dict[str, Any] = {"w": values(8, 4 // group, 3, 3) - 1}
    weights = ["w"]
    if bias:
        constants["b"] = values(8) - 1
        weights.append("b")
    nodes = [make_node("Conv", ["x", *weights], ["t0"], "conv", group=group, kernel_shape=[3, 3])]
    for at, step in enumerate(steps):
        source, target, name = f"t{at}", f"t{at + 1}", f"c{at}"
        if step == "BatchNormalization":
            names = [f"{name}{part}" for part in "gbmv"]
            constants |= {part: values(8) for part in names}
            nodes.append(make_node(step, [source, *names], [target], f"n{at}", epsilon=1e-3))
            continue
        constants[name] = values() if step == "AddScalar" else values(8, 1, 1)
        inputs = [name, source] if step == "MulFirst" else [source, name]
        kind = {"AddScalar": "Add", "MulFirst": "Mul"}.get(step, step)
        nodes.append(make_node(kind, inputs, [target], f"n{at}"))
    nodes.append(make_node("Relu", [f"t{len(steps)}"], ["y"], "relu"))
    return graphs.make(nodes, INPUT, {"y": ["batch", 8, 4, 4]}, **constants)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4),
    group=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_any_affine_chain_becomes_part_of_the_convolution(
    graphs: Graphs, *, steps: list[str], group: int, bias: bool
) -> None:
    model = chain(graphs, steps, group=group, bias=bias)
    folded = fold_affine(model)
    assert graphs.types(folded) == ["Conv", "Relu"]
    x = RNG.normal(0, 1, (2, 4, 6, 6)).astype(np.float32)
    wanted, found = graphs.run(model, x=x), graphs.run(folded, x=x)
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-5 * max(1.0, wanted.max()))


def test_what_the_chain_does_is_named(graphs: Graphs) -> None:
    model = chain(graphs, ["Mul", "Add"])
    (found,) = foldable(model.graph)
    assert found.conv.name == "conv"
    assert [node.name for node in found.chain] == ["n0", "n1"]


def test_two_convolutions_that_share_weights_fold_apart(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("Conv", ["x", "w"], ["a"]),
            make_node("Mul", ["a", "two"], ["a2"]),
            make_node("Conv", ["x", "w"], ["b"]),
            make_node("Add", ["a2", "b"], ["y"]),
        ],
        INPUT,
        {"y": ["batch", 8, 6, 6]},
        w=values(8, 4, 1, 1),
        two=np.float32(2),
    )
    folded = fold_affine(model)
    assert graphs.types(folded) == ["Conv", "Conv", "Add"]
    x = values(1, 4, 6, 6)
    np.testing.assert_allclose(graphs.run(folded, x=x), graphs.run(model, x=x), rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        pytest.param(
            [make_node("Mul", ["t", "s"], ["m"]), make_node("Add", ["m", "t"], ["y"])],
            {"s": np.ones((8, 1, 1), np.float32)},
            id="another node reads the convolution",
        ),
        pytest.param(
            [make_node("Sub", ["s", "t"], ["y"])],
            {"s": np.ones((8, 1, 1), np.float32)},
            id="constant minus output",
        ),
        pytest.param(
            [make_node("Mul", ["t", "s"], ["y"])],
            {"s": np.ones((1, 1, 6), np.float32)},
            id="a factor by column",
        ),
        pytest.param([make_node("Mul", ["t", "t"], ["y"])], {}, id="the square of the output"),
        pytest.param(
            [make_node("Relu", ["t"], ["r"]), make_node("Mul", ["r", "s"], ["y"])],
            {"s": np.ones((8, 1, 1), np.float32)},
            id="something lies between",
        ),
    ],
)
def test_what_is_not_affine_by_channel_stays(
    graphs: Graphs, nodes: list[onnx.NodeProto], constants: dict[str, Any]
) -> None:
    model = graphs.make(
        [make_node("Conv", ["x", "w"], ["t"]), *nodes],
        INPUT,
        {"y": ["batch", 8, 6, 6]},
        w=values(8, 4, 1, 1),
        **constants,
    )
    assert fold_affine(model).SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


def test_weights_that_are_computed_stay(graphs: Graphs) -> None:
    model = graphs.make(
        [make_node("Conv", ["x", "w"], ["t"]), make_node("Mul", ["t", "s"], ["y"])],
        INPUT | {"w": [8, 4, 1, 1]},
        {"y": ["batch", 8, 6, 6]},
        s=np.float32(2),
    )
    assert graphs.types(fold_affine(model)) == ["Conv", "Mul"]
