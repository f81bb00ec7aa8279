from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

import quantised as support
import residual
from scanside.backends.cpufeatures import CpuFeatures
from scanside.backends.rewrites import FOR_ONNX_RUNTIME, FOR_OPENVINO, Effect, derive
from scanside.backends.rewrites.packing import lay_out
from scanside.errors import BundleError
from scanside.onnxgraph import read_graph
from scanside.preprocess import preprocess
from scanside.readers.image import read_file
from small import open_small

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.backends.rewrites import Rewrite
    from scanside.contract import Role

WIDE, NARROW = CpuFeatures(wide_dot_product=True), CpuFeatures(wide_dot_product=False)
BY_NAME = {rewrite.name: rewrite for rewrite in (*FOR_ONNX_RUNTIME, *FOR_OPENVINO)}
EXACT = [rewrite for rewrite in BY_NAME.values() if rewrite.effect is Effect.EXACT]
PLAIN = FOR_ONNX_RUNTIME[: FOR_ONNX_RUNTIME.index(BY_NAME["packed-pixels"])]
"""Up to those that stand for the layout of ONNX Runtime's kernels."""

POOLED = {"pooled-image", "averaged-image"}


@cache
def small() -> bytes:
    """The toy residual graph in INT8."""
    return support.quantised(residual.build(), residual.images()).SerializeToString()


def applied(name: str, model: bytes, cpu: CpuFeatures = WIDE) -> tuple[int, bytes]:
    """One rewrite, and those that make way for it."""
    graph = read_graph(model)
    found = 0
    before = {"transposed-image", "pooled-image"}
    if name in {"averaged-image", "packed-pixels"}:
        before |= {"quantised-image", "unsigned-activations"}
    for rewrite in BY_NAME.values():
        if rewrite.name == name or rewrite.name in before:
            count = rewrite.apply(graph, cpu)
            found = count if rewrite.name == name else found
    return found, graph.encoded()


def edited(
    change: Callable[[onnx.ModelProto], None], model: onnx.ModelProto | None = None
) -> bytes:
    made = model or onnx.load_from_string(small())
    change(made)
    return made.SerializeToString()


def node(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op_type)


def constant(model: onnx.ModelProto, name: str, value: Any) -> None:
    """Set a constant's value."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), name))
            return
    raise KeyError(name)


def same(one: list[NDArray[Any]], other: list[NDArray[Any]]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("rewrite", EXACT, ids=lambda rewrite: rewrite.name)
def test_an_exact_rewrite_changes_no_bit(rewrite: Rewrite) -> None:
    model = pooled() if rewrite.name in POOLED else small()
    count, made = applied(rewrite.name, model)
    assert count > 0
    assert made != model
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    slices = residual.images(6, seed=5)
    assert same(support.unoptimised(made, slices), support.unoptimised(model, slices))


@cache
def pooled() -> bytes:
    """The toy graph in INT8 with its image averaged first."""
    return support.quantised(with_pool(), residual.images()).SerializeToString()


def with_pool(**attributes: Any) -> onnx.ModelProto:
    """The float graph with its image pooled first, as the classifier's is."""
    model = residual.build()
    given = {"kernel_shape": [2, 2], "strides": [2, 2], **attributes}
    pool = helper.make_node("AveragePool", ["nchw"], ["small"], "input_pool", **given)
    nodes = list(model.graph.node)
    nodes[4].input[0] = "small"
    nodes.insert(4, pool)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for value, rank in zip(model.graph.output, ([None] * 4, [None] * 2), strict=True):
        value.ClearField("type")
        value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, rank))
    return model


def test_masks_of_the_derived_graph_are_closer_to_the_float_ones() -> None:
    slices = residual.images(16, seed=9)
    models = (residual.build().SerializeToString(), small(), derive(small(), WIDE, PLAIN).content)
    exact, file, made = (support.unoptimised(model, slices)[0] for model in models)
    assert np.abs(made - exact).mean() < np.abs(file - exact).mean()


def test_what_was_applied_is_said_in_order() -> None:
    assert derive(small(), WIDE, PLAIN).applied == (
        "transposed-image (exact)", "quantised-image (exact)", "pad-into-pool (exact)",
        "fine-activations (approximate)", "unsigned-activations (exact)",
    )  # fmt: skip


def test_no_activation_stays_signed_and_every_weight_does() -> None:
    model = onnx.load_from_string(derive(small(), WIDE, PLAIN).content)
    held = {t.name: t for t in model.graph.initializer}
    kinds = {
        (each.op_type, each.input[0] in held, held[each.input[2]].data_type)
        for each in model.graph.node
        if each.op_type.endswith("uantizeLinear") or each.op_type.startswith("Dequantize")
    }
    assert kinds == {
        ("QuantizeLinear", False, TensorProto.UINT8),
        ("DequantizeLinear", False, TensorProto.UINT8),
        ("DequantizeLinear", True, TensorProto.INT8),
    }  # fmt: skip


def ranges(content: bytes) -> dict[str, tuple[float, int]]:
    """Scale and zero point by quantised tensor."""
    model = onnx.load_from_string(content)
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {
        each.input[0]: (float(held[each.input[1]]), int(held[each.input[2]]))
        for each in model.graph.node
        if each.op_type == "QuantizeLinear"
    }


def test_what_cannot_be_negative_gets_twice_the_levels_in_the_same_range() -> None:
    before, after = ranges(small()), ranges(derive(small(), WIDE, PLAIN).content)
    fine = {name for name, (_, zero_point) in after.items() if zero_point == 0}
    assert {"stem/r", "pooled", "a/r", "block", "both", "join/r"} <= fine
    assert not fine & {"b/y", "nchw"}
    for name in fine:
        assert after[name][0] * 255 == pytest.approx(before[name][0] * 127, rel=1e-6)
    for name in after.keys() - fine:
        assert after[name] == (before[name][0], 128)


def test_without_vnni_values_in_range_stay_below_128() -> None:
    before, after = ranges(small()), ranges(derive(small(), NARROW, PLAIN).content)
    assert after["stem/r"] == (before["stem/r"][0], 0)
    assert after["b/y"] == (before["b/y"][0], 128)


def test_what_shares_a_scale_still_does() -> None:
    """A MaxPool or a Resize between two equal scales needs no rounding."""
    after = ranges(derive(small(), WIDE, PLAIN).content)
    assert after["pooled"] == after["stem/r"]
    assert after["up"] == after["block"]


def negative_pads(model: onnx.ModelProto) -> None:
    constant(model, "pads", np.int64([0, 0, -1, 1, 0, 0, 1, 1]))


def pads_of_a_window(model: onnx.ModelProto) -> None:
    constant(model, "pads", np.int64([0, 0, 3, 1, 0, 0, 1, 1]))


def padded_channels(model: onnx.ModelProto) -> None:
    constant(model, "pads", np.int64([0, 1, 1, 1, 0, 0, 1, 1]))


def padded_with_one(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    node(model, "Pad").input.append("one")


def reflected(model: onnx.ModelProto) -> None:
    node(model, "Pad").attribute.append(helper.make_attribute("mode", "reflect"))


def padded_pool(model: onnx.ModelProto) -> None:
    node(model, "MaxPool").attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))


def rounded_up(model: onnx.ModelProto) -> None:
    node(model, "MaxPool").attribute.append(helper.make_attribute("ceil_mode", 1))


def may_be_negative(model: onnx.ModelProto) -> None:
    next(n for n in model.graph.node if n.name == "stem/Relu").op_type = "Tanh"


def foreign(model: onnx.ModelProto) -> None:
    node(model, "Pad").domain = "elsewhere"


def is_an_output(model: onnx.ModelProto) -> None:
    name = node(model, "Pad").output[0]
    model.graph.output.append(helper.make_empty_tensor_value_info(name))


@pytest.mark.parametrize(
    "change",
    [negative_pads, pads_of_a_window, padded_channels, padded_with_one, reflected, padded_pool,
     rounded_up, may_be_negative, foreign, is_an_output],
)  # fmt: skip
@pytest.mark.parametrize("integers", [True, False])
def test_a_pad_that_is_not_the_pool_s_own_stays(
    change: Callable[[onnx.ModelProto], None], *, integers: bool
) -> None:
    model = edited(change, None if integers else residual.build())
    assert BY_NAME["pad-into-pool"].apply(read_graph(model), WIDE) == 0


def test_a_pad_in_front_of_a_pool_is_folded_in_a_float_graph_too() -> None:
    model = residual.build().SerializeToString()
    derived = derive(model, WIDE, PLAIN)
    assert derived.applied == ("transposed-image (exact)", "pad-into-pool (exact)")
    slices = residual.images(3)
    assert same(support.unoptimised(derived.content, slices), support.unoptimised(model, slices))


def test_a_pad_that_is_rounded_by_other_numbers_stays() -> None:
    def change(model: onnx.ModelProto) -> None:
        constant(model, "padded/scale", np.float32(0.01))

    assert BY_NAME["pad-into-pool"].apply(read_graph(edited(change)), WIDE) == 0


@pytest.mark.parametrize(
    "attributes",
    [{"kernel_shape": [3, 3]}, {"pads": [1, 0, 0, 1]}, {"ceil_mode": 1},
     {"auto_pad": "SAME_UPPER"}],
)  # fmt: skip
def test_an_image_is_not_pooled_first_where_sums_could_round(attributes: dict[str, Any]) -> None:
    count, _ = applied("pooled-image", with_pool(**attributes).SerializeToString())
    assert count == 0


@pytest.mark.parametrize(("factor", "offset"), [(1 / 127.5, -1.0), (1 / 128, -0.3), (0.0, 1.0)])
def test_an_image_is_not_pooled_first_with_a_scaling_that_rounds(
    factor: float, offset: float
) -> None:
    model = with_pool()
    constant(model, "one_128th", np.float32(factor))
    constant(model, "minus_one", np.float32(offset))
    assert applied("pooled-image", model.SerializeToString())[0] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("nchw/scale", np.float32(1 / 127)), ("nchw/zero_point", np.int8(1)),
     ("one_128th", np.float32(1 / 127.5)), ("minus_one", np.float32(-0.9))],
)  # fmt: skip
def test_an_image_that_is_scaled_otherwise_is_quantised_as_the_file_says(
    name: str, value: Any
) -> None:
    model = edited(lambda made: constant(made, name, value))
    assert applied("quantised-image", model)[0] == 0


def test_an_image_of_another_type_is_left_alone() -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32

    assert not {label for label in derive(edited(change), WIDE, PLAIN).applied if "image" in label}


def test_a_quantised_output_of_the_graph_stays_signed() -> None:
    before = onnx.load_from_string(small())
    name = next(n.output[0] for n in before.graph.node if n.op_type == "QuantizeLinear")

    def change(model: onnx.ModelProto) -> None:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT8, None))

    made = onnx.load_from_string(derive(edited(change), WIDE, PLAIN).content)
    held = {t.name: t.data_type for t in made.graph.initializer}
    maker = next(n for n in made.graph.node if name in n.output)
    assert held[maker.input[2]] == TensorProto.INT8


def test_a_graph_with_graphs_in_it_is_left_alone() -> None:
    inner = helper.make_graph([], "inner", [], [])

    def change(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node("If", ["c"], [], then_branch=inner))

    model = edited(change)
    derived = derive(model, WIDE, PLAIN)
    assert derived.applied == ()
    assert derived.content is model


@pytest.mark.parametrize("rewrites", [PLAIN, FOR_ONNX_RUNTIME, FOR_OPENVINO])
@pytest.mark.parametrize("model", ["small", "pooled", "strided"])
def test_deriving_twice_changes_nothing_more(model: str, rewrites: Sequence[Rewrite]) -> None:
    content = {"small": small, "pooled": pooled, "strided": strided}[model]()
    once = derive(content, WIDE, rewrites)
    assert once.content != content
    assert derive(once.content, WIDE, rewrites) == (once.content, ())


def with_stride(kernel: int, before: int, after: int) -> onnx.ModelProto:
    """The float graph with a first convolution of stride 2; it and its readers stay in size."""
    rng = np.random.default_rng(kernel)
    weights = rng.normal(size=(8, 3, kernel, kernel)).astype(np.float32) / 5
    model = residual.build(**{"stem/w": weights})
    stem = next(node for node in model.graph.node if node.name == "stem")
    del stem.attribute[:]
    attributes = {
        "kernel_shape": [kernel] * 2,
        "strides": [2, 2],
        "pads": [before] * 2 + [after] * 2,
    }
    stem.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
    for value, rank in zip(model.graph.output, ([None] * 4, [None] * 2), strict=True):
        value.ClearField("type")
        value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, rank))
    return model


@cache
def strided(kernel: int = 3, before: int = 0, after: int = 1) -> bytes:
    made = with_stride(kernel, before, after)
    return support.quantised(made, residual.images()).SerializeToString()


def in_integers(model: bytes, slices: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """All outputs with graph optimisation on, sums of products of bytes in 32 bits."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, {"image": slices})
    return outputs


@pytest.mark.parametrize(
    ("kernel", "before", "after"), [(3, 0, 1), (7, 3, 3), (3, 1, 1), (2, 0, 0)]
)
def test_packed_pixels_change_no_bit_in_integers(kernel: int, before: int, after: int) -> None:
    model = strided(kernel, before, after)
    unpacked = derive(model, WIDE, PLAIN).content
    graph = read_graph(unpacked)
    assert BY_NAME["packed-pixels"].apply(graph, WIDE) == 1
    onnx.checker.check_model(onnx.load_from_string(graph.encoded()), full_check=True)
    slices = residual.images(6, seed=7)
    assert same(in_integers(graph.encoded(), slices), in_integers(unpacked, slices))


def test_the_averaged_image_changes_no_bit_in_integers_either() -> None:
    unpacked = derive(pooled(), WIDE, PLAIN).content
    graph = read_graph(unpacked)
    assert BY_NAME["averaged-image"].apply(graph, WIDE) == 1
    left = {node.op_type for node in graph.nodes}
    assert not left & {"AveragePool", "Cast"}
    slices = residual.images(6, seed=7)
    assert same(in_integers(graph.encoded(), slices), in_integers(unpacked, slices))


@pytest.mark.parametrize("factor", [1 / 64, 1 / 256])
def test_an_average_that_is_scaled_otherwise_stays(factor: float) -> None:
    model = support.quantised(with_pool(), residual.images())
    constant(model, "one_128th", np.float32(factor))
    assert applied("averaged-image", model.SerializeToString())[0] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("dilations", [2, 2]), ("auto_pad", "VALID"), ("strides", [2, 1]), ("group", 3),
     ("pads", [0, 0, 1, 0])],
)  # fmt: skip
def test_other_convolutions_are_not_packed(name: str, value: Any) -> None:
    model = onnx.load_from_string(strided())
    stem = next(each for each in model.graph.node if each.name == "stem")
    for held in [each for each in stem.attribute if each.name == name]:
        stem.attribute.remove(held)
    stem.attribute.append(helper.make_attribute(name, value))
    assert applied("packed-pixels", model.SerializeToString())[0] == 0


@pytest.mark.parametrize("columns", [0, 18])
def test_columns_that_are_not_known_or_not_in_fours_are_not_packed(columns: int) -> None:
    model = onnx.load_from_string(strided())
    side = model.graph.input[0].type.tensor_type.shape.dim[2]
    side.Clear()
    if columns:
        side.dim_value = columns
    assert applied("packed-pixels", model.SerializeToString())[0] == 0


@given(
    hnp.arrays(np.int8, st.tuples(st.just(2), st.just(3), st.just(1), st.integers(1, 9))),
    st.integers(0, 8),
    st.randoms(use_true_random=False),
)
def test_weights_laid_out_give_the_same_sums(
    weights: NDArray[np.int8], left: int, random: random.Random
) -> None:
    """A row of pixels through the convolution as it was, and by groups of four."""
    columns, left = 16, min(left, weights.shape[3] - 1)
    row = np.array([[random.randrange(-128, 128) for _ in range(3)] for _ in range(columns)])
    laid_out, (before, after) = lay_out(weights, left)
    outputs, filters, width = columns // 2, weights.shape[0], weights.shape[3]
    padded = np.zeros((left + columns + width + 8, 3), int)
    padded[left : left + columns] = row
    wanted = np.array([
        [(padded[2 * n : 2 * n + width].T * each[:, 0]).sum() for each in weights.astype(int)]
        for n in range(outputs)
    ])  # fmt: skip
    groups = np.pad(row.reshape(-1, 12), ((before, after), (0, 0)))
    found = np.array([
        [(groups[n : n + laid_out.shape[3]].T * each[:, 0]).sum() for each in laid_out.astype(int)]
        for n in range(columns // 4)
    ])  # fmt: skip
    assert np.array_equal(found.reshape(outputs, filters), wanted)


def test_a_slice_s_probability_does_not_depend_on_those_beside_it() -> None:
    derived = derive(small(), WIDE, FOR_ONNX_RUNTIME)
    assert "integer-product (approximate)" in derived.applied
    slices = residual.images(9, seed=3)
    together = in_integers(derived.content, slices)[1]
    alone = np.concatenate([in_integers(derived.content, each[np.newaxis])[1] for each in slices])
    assert np.array_equal(together, alone)
    before = in_integers(derive(small(), WIDE, PLAIN).content, slices)[1]
    assert np.abs(together - before).max() < 1e-6


def test_a_product_of_floats_is_left_alone() -> None:
    model = residual.build().SerializeToString()
    assert BY_NAME["integer-product"].apply(read_graph(model), WIDE) == 0


def test_a_pair_of_other_numbers_behind_a_concat_stays() -> None:
    content = derive(small(), WIDE, FOR_OPENVINO[:-1]).content
    model = onnx.load_from_string(content)
    joined = node(model, "Concat").output[0]
    pair = [each for each in model.graph.node if joined in each.input[0]][:1]
    pair += [each for each in model.graph.node if each.input[0] == pair[0].output[0]]
    count = BY_NAME["rounded-once"].apply(read_graph(content), WIDE)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.7), "another"))
    for each in pair:
        each.input[1] = "another"
    changed = read_graph(model.SerializeToString())
    assert BY_NAME["rounded-once"].apply(changed, WIDE) == count - 1


def test_no_model_is_refused() -> None:
    with pytest.raises(BundleError, match="no ONNX model"):
        derive(b"no model", WIDE, PLAIN)


def real_slices(data_root: Path, count: int) -> NDArray[np.uint8]:
    files = [path for path in sorted((data_root / "lgg").rglob("*_*.*")) if "mask" not in path.name]
    chosen = files[:: max(1, len(files) // count)][:count]
    return np.stack([preprocess(each.pixels)[0] for path in chosen for each in read_file(path)])


@pytest.mark.slow
@pytest.mark.parametrize("role", ["classifier", "segmenter"])
def test_exact_rewrites_are_bit_equal_on_real_slices(role: Role, data_root: Path) -> None:
    slices = real_slices(data_root, 12)
    float_model = onnx.load_from_string(open_small().read_model(role, "fp32"))
    model = support.quantised(float_model, slices[:4])
    found = []
    for content in (float_model.SerializeToString(), model.SerializeToString()):
        wanted = support.unoptimised(content, slices)
        graph, names = read_graph(content), []
        for rewrite in (each for each in (*PLAIN, *FOR_OPENVINO) if each.effect is Effect.EXACT):
            if rewrite.apply(graph, WIDE):
                names.append(rewrite.name)
                assert same(support.unoptimised(graph.encoded(), slices), wanted), rewrite.name
        found.append(names)
    first = ["transposed-image", *(["pad-into-pool"] if role == "classifier" else [])]
    assert found[0] == first
    assert set(found[1]) >= {*first, "unsigned-activations", "quantised-image"}
