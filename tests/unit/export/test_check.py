from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export works on ONNX graphs: needs the train extra")

import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import make_attribute, make_node, make_opsetid

import toy
from scanside.errors import BundleError
from scanside_export.check import check_graph, find_violations

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[onnx.ModelProto], None]


@pytest.fixture
def classifier() -> onnx.ModelProto:
    return named(toy.classifier())


@pytest.fixture
def segmenter() -> onnx.ModelProto:
    return named(toy.segmenter())


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    for node in model.graph.node:
        node.name = f"the_{node.op_type}"
    return model


def node(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op_type)


def put(model: onnx.ModelProto, *names: str, **constants: Any) -> None:
    """Set or add constants."""
    for name, value in constants.items():
        kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
        kept.append(numpy_helper.from_array(np.asarray(value), name))
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    assert not names


def insert_after_conv(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Put nodes that read ``grey`` and make ``grey2`` behind the convolution."""
    kept = list(model.graph.node)
    for other in kept:
        other.input[:] = ["grey2" if name == "grey" else name for name in other.input]
    at = kept.index(node(model, "Conv")) + 1
    copies = [
        onnx.NodeProto.FromString(n.SerializeToString()) for n in [*kept[:at], *nodes, *kept[at:]]
    ]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def unary(op_type: str, **attributes: Any) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        insert_after_conv(model, make_node(op_type, ["grey"], ["grey2"], "extra", **attributes))

    return edit


def test_the_toy_graphs_are_of_the_contract(
    classifier: onnx.ModelProto, segmenter: onnx.ModelProto
) -> None:
    assert find_violations(classifier, "classifier") == []
    assert find_violations(segmenter, "segmenter") == []
    check_graph(classifier, "classifier")


def test_the_check_does_not_change_the_model(segmenter: onnx.ModelProto) -> None:
    before = segmenter.SerializeToString(deterministic=True)
    find_violations(segmenter, "segmenter")
    assert segmenter.SerializeToString(deterministic=True) == before


def test_exchanged_models_are_refused(classifier: onnx.ModelProto) -> None:
    (violation,) = find_violations(classifier, "segmenter")
    assert "tumor_probability float32 ['batch', 1]" in violation
    assert "mask_probability float32 ['batch', 256, 256]" in violation


def shape_arithmetic(model: onnx.ModelProto) -> None:
    shape = make_node("Shape", ["grey"], ["shape_of"], "the_Shape")
    gather = make_node("Gather", ["shape_of", "zero"], ["count"], "the_Gather")
    expand = make_node("Expand", ["grey", "shape_of"], ["grey2"], "the_Expand")
    put(model, zero=np.int64(0))
    insert_after_conv(model, shape, gather, expand)


def tile(model: onnx.ModelProto) -> None:
    put(model, repeats=np.int64([1, 1, 1, 1]))
    insert_after_conv(model, make_node("Tile", ["grey", "repeats"], ["grey2"], "the_Tile"))


def cast_chain(model: onnx.ModelProto) -> None:
    insert_after_conv(
        model,
        make_node("Cast", ["grey"], ["half"], "to_half", to=TensorProto.FLOAT16),
        make_node("Cast", ["half"], ["grey2"], "to_float", to=TensorProto.FLOAT),
    )


def transposes(model: onnx.ModelProto) -> None:
    insert_after_conv(
        model,
        make_node("Transpose", ["grey"], ["turned"], "turn", perm=[0, 2, 3, 1]),
        make_node("Transpose", ["turned"], ["grey2"], "turn_back", perm=[0, 3, 1, 2]),
    )


def control_flow(model: onnx.ModelProto) -> None:
    def branch(name: str) -> onnx.GraphProto:
        value = onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return onnx.helper.make_graph([make_node("Relu", ["grey"], [name])], name, [], [value])

    put(model, yes=np.bool_(True))  # noqa: FBT003 - a constant of the graph
    attributes = {"then_branch": branch("a"), "else_branch": branch("b")}
    insert_after_conv(model, make_node("If", ["yes"], ["grey2"], "the_If", **attributes))


def custom_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(make_opsetid("com.example", 1))
    insert_after_conv(
        model, make_node("Fancy", ["grey"], ["grey2"], "the_Fancy", domain="com.example")
    )


def transposed_convolution(model: onnx.ModelProto) -> None:
    put(model, kernel=np.ones((1, 1, 1, 1), np.float32))
    insert_after_conv(
        model, make_node("ConvTranspose", ["grey", "kernel"], ["grey2"], "the_ConvTranspose")
    )


def batch_normalization(model: onnx.ModelProto) -> None:
    put(model, one=np.ones(1, np.float32))
    insert_after_conv(
        model,
        make_node("Relu", ["grey"], ["rectified"]),
        make_node("BatchNormalization", ["rectified", *["one"] * 4], ["grey2"], "the_BN"),
    )


def unfolded(model: onnx.ModelProto) -> None:
    put(model, factor=np.float32(2))
    insert_after_conv(model, make_node("Mul", ["grey", "factor"], ["grey2"], "the_unfolded_Mul"))


def cubic(model: onnx.ModelProto) -> None:
    put(model, scales=np.float32([1, 1, 1, 1]))
    insert_after_conv(
        model, make_node("Resize", ["grey", "", "scales"], ["grey2"], "enlarge", mode="cubic")
    )


def sized(model: onnx.ModelProto) -> None:
    put(model, sizes=np.int64([1, 1, 256, 256]))
    inputs = ["grey", "", "", "sizes"]
    insert_after_conv(model, make_node("Resize", inputs, ["grey2"], "enlarge", mode="linear"))


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def dead(model: onnx.ModelProto) -> None:
    model.graph.node.append(make_node("Relu", ["grey"], ["nowhere"], "the_dead_one"))


def local_function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="local")


def input_of_three(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_axis_name(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "unk__7"


def open_height(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def set_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def without_cast(model: onnx.ModelProto) -> None:
    kept = [n for n in model.graph.node if n.op_type != "Cast"]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in kept]
    copies[0].input[0] = "image"
    del model.graph.node[:]
    model.graph.node.extend(copies)


def other_order(model: onnx.ModelProto) -> None:
    perm = node(model, "Transpose")
    perm.ClearField("attribute")
    perm.attribute.append(make_attribute("perm", [0, 3, 2, 1]))


CASES: dict[str, tuple[Edit, list[str]]] = {
    "shape arithmetic": (shape_arithmetic, ["the_Shape (Shape)", "the_Gather", "the_Expand"]),
    "tile": (tile, ["the_Tile (Tile): nearest UpSampling2D exports so"]),
    "cast chain": (cast_chain, ["to_half (Cast)", "to_float (Cast)"]),
    "transposes": (transposes, ["turn (Transpose)", "turn_back (Transpose)"]),
    "control flow": (control_flow, ["the_If (If): control flow"]),
    "custom domain": (custom_domain, ["set 'com.example'", "the_Fancy (Fancy): the custom domain"]),
    "transposed convolution": (transposed_convolution, ["the_ConvTranspose (ConvTranspose)"]),
    "batch normalisation": (batch_normalization, ["the_BN (BatchNormalization): it could not"]),
    "unfolded": (unfolded, ["the_Conv (Conv): not folded into it: the_unfolded_Mul"]),
    "dropout": (unary("Dropout"), ["extra (Dropout): an output may not depend on chance"]),
    "noise": (unary("RandomNormalLike"), ["extra (RandomNormalLike)"]),
    "identity": (unary("Identity"), ["extra (Identity): it does nothing"]),
    "cubic resize": (cubic, ["enlarge (Resize): not half_pixel linear"]),
    "resize to a size": (sized, ["enlarge (Resize): not half_pixel linear"]),
    "external data": (external, ["lies outside the file"]),
    "dead node": (dead, ["the_dead_one (Relu): no output depends on it"]),
    "unused constant": (lambda m: put(m, unread=np.float32(1)), ["constant unread is not used"]),
    "double": (lambda m: put(m, gain=np.float64(1)), ["constant gain is DOUBLE"]),
    "half": (lambda m: put(m, gain=np.float16(1)), ["constant gain is FLOAT16"]),
    "NaN": (lambda m: put(m, gain=np.float32(np.nan)), ["constant gain has values that are not"]),
    "local function": (local_function, ["1 local functions"]),
    "opset": (set_opset, ["the opset is 18, not 17"]),
    "input size": (input_of_three, ["image uint8 ['batch', 128, 256, 3]"]),
    "fixed batch": (fixed_batch, ["image uint8 [1, 256, 256, 3]"]),
    "axis name": (other_axis_name, ["['unk__7', 1]"]),
    "open height": (open_height, ["['batch', 'height', 256, 3]"]),
    "float input": (float_input, ["image float32"]),
    "scale": (lambda m: put(m, scale=np.float32(1 / 255)), ["the_Mul (Mul): its constant is 0"]),
    "offset": (lambda m: put(m, shift=np.float32(-0.5)), ["the_Add (Add): its constant is -0.5"]),
    "next float": (
        lambda m: put(m, scale=np.nextafter(np.float32(1 / 128), np.float32(1))),
        ["the_Mul (Mul): its constant is 0.0078"],
    ),
    "no cast": (without_cast, ["image goes to the_Mul (Mul), not to one Cast"]),
    "order of axes": (other_order, ["(0, 3, 2, 1), not (0, 3, 1, 2)"]),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "expected"), CASES.values(), ids=CASES.keys())
def test_every_offender_is_named(
    classifier: onnx.ModelProto, edit: Edit, expected: list[str]
) -> None:
    edit(classifier)
    violations = find_violations(classifier, "classifier")
    for part in expected:
        assert any(part in violation for violation in violations), (part, violations)
    with pytest.raises(BundleError) as caught:
        check_graph(classifier, "classifier")
    assert all(part in str(caught.value) for part in expected)
    assert "opset 17" in caught.value.accepted


def test_a_reshape_to_a_computed_shape_is_named(segmenter: onnx.ModelProto) -> None:
    node(segmenter, "Reshape").input[1] = "computed"
    segmenter.graph.node.insert(0, make_node("Neg", ["shape"], ["computed"], "the_Neg"))
    assert "the_Reshape (Reshape): its input computed is not a constant" in find_violations(
        segmenter, "segmenter"
    )


def test_an_output_of_another_computed_shape_is_named(segmenter: onnx.ModelProto) -> None:
    put(segmenter, shape=np.int64([-1, 128, 512]))
    (violation,) = find_violations(segmenter, "segmenter")
    assert "the_Reshape" in violation
    assert "(128) vs (256)" in violation


def test_a_graph_that_does_not_hold_together_is_named(segmenter: onnx.ModelProto) -> None:
    node(segmenter, "AveragePool").attribute.append(make_attribute("nonsense", 1))
    (violation,) = find_violations(segmenter, "segmenter")
    assert "onnx.checker: Unrecognized attribute: nonsense" in violation
