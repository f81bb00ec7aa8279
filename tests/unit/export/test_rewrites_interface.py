from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export works on ONNX graphs: needs the train extra")

from onnx import TensorProto
from onnx.helper import make_node

from scanside_export.rewrites.constants import remove_dead
from scanside_export.rewrites.interface import canonical_scaling, name_interface, stamp
from scanside_export.rewrites.naming import name_nodes

if TYPE_CHECKING:
    import onnx

    from conftest import Graphs

EVERY = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def scaled(graphs: Graphs, *steps: tuple[str, float]) -> onnx.ModelProto:
    """A graph that casts its uint8 input and applies steps with a constant."""
    nodes = [make_node("Cast", ["image"], ["t0"], to=TensorProto.FLOAT)]
    constants = {}
    for at, (kind, value) in enumerate(steps):
        constants[f"c{at}"] = np.float32(value)
        nodes.append(make_node(kind, [f"t{at}", f"c{at}"], [f"t{at + 1}"]))
    nodes.append(make_node("Transpose", [f"t{len(steps)}"], ["y"], perm=[0, 3, 1, 2]))
    shape = ["batch", 16, 16, 1]
    model = graphs.make(nodes, {"image": shape}, {"y": ["batch", 1, 16, 16]}, **constants)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


@pytest.mark.parametrize(
    "steps",
    [
        (("Sub", 128.0), ("Div", 128.0)),
        (("Sub", 128.0), ("Mul", 1 / 128)),
        (("Div", 128.0), ("Sub", 1.0)),
        (("Mul", 1 / 128), ("Add", -1.0)),
        (("Mul", 2.0), ("Mul", 1 / 256), ("Add", -1.0)),
    ],
)
def test_every_way_to_write_the_scaling_becomes_one(
    graphs: Graphs, steps: tuple[tuple[str, float], ...]
) -> None:
    model = scaled(graphs, *steps)
    one = remove_dead(canonical_scaling(model))
    assert graphs.types(one) == ["Cast", "Mul", "Add", "Transpose"]
    assert [node.name for node in one.graph.node] == [
        f"scale/{kind}" for kind in ("Cast", "Mul", "Add", "Transpose")
    ]
    found = graphs.run(one, image=EVERY)
    np.testing.assert_array_equal(found, graphs.run(model, image=EVERY))
    np.testing.assert_array_equal(found.ravel(), (np.arange(256) - 128) / 128)


@pytest.mark.parametrize(
    "steps",
    [
        (("Div", 255.0),),
        (("Sub", 127.5), ("Div", 127.5)),
        (("Sub", 128.0), ("Mul", float(np.nextafter(np.float32(1 / 128), np.float32(1))))),
        (),
    ],
)
def test_another_scaling_is_left_for_the_check(
    graphs: Graphs, steps: tuple[tuple[str, float], ...]
) -> None:
    model = scaled(graphs, *steps)
    left = canonical_scaling(model)
    assert graphs.types(left) == graphs.types(model)
    np.testing.assert_array_equal(graphs.run(left, image=EVERY), graphs.run(model, image=EVERY))


def test_a_scaling_that_two_nodes_read_in_the_middle_is_left(graphs: Graphs) -> None:
    model = scaled(graphs, ("Mul", 1 / 128), ("Add", -1.0))
    model.graph.node.append(make_node("Relu", ["t1"], ["z"]))
    model.graph.output.add(name="z").type.tensor_type.elem_type = TensorProto.FLOAT
    assert graphs.types(canonical_scaling(model)) == graphs.types(model)


def test_names_and_the_batch_axis(graphs: Graphs) -> None:
    model = graphs.make(
        [make_node("Relu", ["in:0"], ["middle"]), make_node("Neg", ["middle"], ["Identity:0"])],
        {"in:0": ["unk__1", 3]},
        {"Identity:0": ["unk__2", 3]},
    )
    model.graph.value_info.add(name="middle")
    named = name_interface(model, source="image", output="tumor_probability")
    values = (named.graph.input[0], named.graph.output[0])
    assert [value.name for value in values] == ["image", "tumor_probability"]
    axes = [value.type.tensor_type.shape.dim for value in values]
    assert [[dim.dim_param or dim.dim_value for dim in shape] for shape in axes] == [
        ["batch", 3]
    ] * 2
    assert not named.graph.value_info
    x = np.float32([[1, -2, 3]])
    assert graphs.run(named, image=x).tolist() == [[-1, 0, -3]]


def test_the_stamp_says_what_the_file_is(graphs: Graphs) -> None:
    model = graphs.make([make_node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]})
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "from elsewhere"
    model.producer_name, model.ir_version = "tf2onnx", 11
    stamped = stamp(model, version="1.2.3", name="classifier", properties={"role": "classifier"})
    assert (stamped.producer_name, stamped.producer_version) == ("scanside", "1.2.3")
    assert stamped.graph.name == "classifier"
    assert stamped.ir_version == 8, "the oldest that opset 17 needs"
    assert {entry.key: entry.value for entry in stamped.metadata_props} == {"role": "classifier"}
    assert b"from elsewhere" not in stamped.SerializeToString()


def test_nodes_are_named_after_their_layers(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node(
                "Conv", ["x", "model_1/stem_conv_1/convolution/merged:0", "b"], ["c:0"], "Conv__437"
            ),
            make_node(
                "Mul", ["c:0", "model_1/bn_1/mul:0"], ["m:0"], "model_1/bn_1/batchnorm/add_1"
            ),
            make_node("Resize", ["m:0", "", "scales__3"], ["r:0"], "Resize__12"),
            make_node("Relu", ["r:0"], ["y"], "model_1/stem_relu_1/Relu"),
        ],
        {"x": ["batch", 1, 4, 4]},
        {"y": ["batch", 2, 8, 8]},
        **{
            "scales__3": np.float32([1, 1, 2, 2]),
            "b": np.zeros(2, np.float32),
            "model_1/bn_1/mul:0": np.float32(2),
            "model_1/stem_conv_1/convolution/merged:0": np.ones((2, 1, 1, 1), np.float32),
        },
    )
    named = name_nodes(model, {"stem_conv", "stem_relu", "bn", "add"})
    assert [node.name for node in named.graph.node] == [
        "stem_conv/Conv", "bn/Mul", "bn/Resize", "stem_relu/Relu",
    ]  # fmt: skip
    assert [tensor.name for tensor in named.graph.initializer] == [
        "stem_conv/weight", "stem_conv/bias", "bn/Mul_b", "bn/Resize_scales",
    ]  # fmt: skip
    assert [list(node.output) for node in named.graph.node] == [
        ["stem_conv/Conv_output"], ["bn/Mul_output"], ["bn/Resize_output"], ["y"],
    ]  # fmt: skip
    x = np.random.default_rng(0).normal(0, 1, (1, 1, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(graphs.run(named, x=x), graphs.run(model, x=x))


def test_a_custom_operator_is_named_too(graphs: Graphs) -> None:
    node = make_node("Odd", ["x", "c"], ["y"], "m/act_1/Odd", domain="com.example")
    model = graphs.make([node], {"x": [1]}, {"y": [1]}, c=np.float32(1))
    named = name_nodes(model, {"act"})
    assert named.graph.node[0].name == "act/Odd"
    assert named.graph.initializer[0].name == "act/Odd_1"


def test_equal_names_are_counted(graphs: Graphs) -> None:
    model = graphs.make(
        [
            make_node("Relu", ["x"], ["a"], "m/act_1/Relu"),
            make_node("Relu", ["a"], ["y"], "m/act_2/Relu"),
        ],
        {"x": [1]},
        {"y": [1]},
    )
    named = name_nodes(model, {"act"})
    assert [node.name for node in named.graph.node] == ["act/Relu", "act/Relu_2"]
