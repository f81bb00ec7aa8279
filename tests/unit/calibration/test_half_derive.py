"""FP16 models end to end: planted overflows and NaNs, and the shipped models on real slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import toy
from scanside.errors import BundleError, InputError, ParityError, UsageError
from scanside.evaluation.layout import find_slices
from scanside.evaluation.slices import DatasetSlice, load_image
from scanside.evidence import HalfCertificate
from scanside.golden import read_golden
from scanside.pipeline import prepare
from scanside_calibration.half.convert import convert
from scanside_calibration.half.derive import derive_half
from scanside_calibration.half.graphs import read_float_graph
from scanside_calibration.half.reference import compute_reference
from small import open_small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


class Slices(NamedTuple):
    """Slices in memory."""

    images: NDArray[np.uint8]
    images_sha256: str = "0" * 64
    patients: tuple[str, ...] = ("A", "B")

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(self.images), size):
            yield self.images[start : start + size]


@pytest.fixture(scope="module")
def slices() -> Slices:
    return Slices(np.stack([toy.lesion_slice(n, side=32, lesion=n % 2 == 0) for n in range(6)]))


def network(gains: list[float], *, side: int = 32, bias: float = 0.0) -> onnx.ModelProto:
    """``(x - 128) / 128``, then a 1 x 1 convolution and a Relu for each gain, then a sigmoid."""
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Mul", ["f", "scale"], ["u"], name="scale"),
        helper.make_node("Add", ["u", "shift"], ["v"], name="shift"),
        helper.make_node("Transpose", ["v"], ["x"], perm=[0, 3, 1, 2], name="transpose"),
    ]
    held: dict[str, Any] = {"scale": np.float32(1 / 128), "shift": np.float32(-1)}
    last = "x"
    for at, gain in enumerate(gains, 1):
        held[f"w{at}"] = (np.eye(3, dtype=np.float32) * np.float32(gain)).reshape(3, 3, 1, 1)
        held[f"b{at}"] = np.full(3, bias, np.float32)
        nodes += [
            helper.make_node("Conv", [last, f"w{at}", f"b{at}"], [f"c{at}"], name=f"conv{at}"),
            helper.make_node("Relu", [f"c{at}"], [f"r{at}"], name=f"relu{at}"),
        ]
        last = f"r{at}"
    nodes.append(helper.make_node("Sigmoid", [last], ["p"], name="sigmoid"))
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", side, side, 3])],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["batch", 3, side, side])],
            [numpy_helper.from_array(value, name) for name, value in held.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def test_a_value_beyond_fp16_stays_in_float32_and_the_rest_does_not(slices: Slices) -> None:
    fp32 = network([1.0, 400.0, 400.0, 1 / 160000.0, 1.0])
    plain = convert(fp32, read_float_graph(fp32), ["p"])
    # The danger: real FP16 arithmetic gives infinity.
    with pytest.raises(ParityError, match="the node conv3 makes NaN or infinity"):
        compute_reference(plain, slices.images[:1])
    found = derive_half(fp32, slices, slices.images[:2], threads=1)
    assert list(found.float32) == ["conv3", "relu3", "conv4", "sigmoid"]
    assert "partial sums" in found.float32["conv3"] or "makes c3" in found.float32["conv3"]
    certificate = found.certificate
    assert certificate.float32_nodes == tuple(found.float32)
    assert certificate.margin == pytest.approx(65504 / certificate.largest)
    assert certificate.margin >= 8
    assert certificate.reference_error < 1e-3
    assert (certificate.slices, certificate.patients, certificate.reference_slices) == (6, 2, 2)


def test_the_margin_decides(slices: Slices) -> None:
    fp32 = network([100.0, 40.0, 1 / 4000.0])
    generous = derive_half(fp32, slices, slices.images[:1], margin=8, threads=1)
    strict = derive_half(fp32, slices, slices.images[:1], margin=60, threads=1)
    assert list(generous.float32) == ["sigmoid"]
    assert {"conv2", "relu2", "conv3"} < set(strict.float32)
    assert strict.certificate.margin >= 60 > generous.certificate.margin


def test_partial_sums_count_where_the_result_is_small(slices: Slices) -> None:
    # Two products of 40,000 with opposite signs: the result is 0 and every value fits.
    fp32 = network([1.0, 1.0])
    weight = next(t for t in fp32.graph.initializer if t.name == "w2")
    value = np.zeros((3, 3, 1, 1), np.float32)
    value[0, 0], value[0, 1] = 40000.0, -40000.0
    weight.CopyFrom(numpy_helper.from_array(value, "w2"))
    grey = Slices(np.repeat(slices.images[..., 1:2], 3, axis=3))
    found = derive_half(fp32, grey, grey.images[:1], threads=1)
    assert found.ranges["c2"].largest == 0
    assert found.sums["conv2"] > 8188
    assert found.float32["conv2"].startswith("its partial sums may reach")


def test_the_bound_holds_for_every_order_of_summation(slices: Slices) -> None:
    random = np.random.default_rng(3)
    fp32 = network([1.0, 1.0], bias=-0.25)
    weight = random.normal(0, 1, (3, 3, 1, 1)).astype(np.float32)
    next(t for t in fp32.graph.initializer if t.name == "w2").CopyFrom(
        numpy_helper.from_array(weight, "w2")
    )
    found = derive_half(fp32, slices, slices.images[:1], threads=1)
    values = ReferenceEvaluator(fp32).run(None, {"image": slices.images}, intermediate=True)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        sums = np.full(1, -0.25, np.float32)
        largest = 0.25
        for channel in order:
            products = weight[None, :, channel] * values["r1"][:, None, channel]
            sums = sums + products
            largest = max(largest, float(np.abs(sums).max()), float(np.abs(products).max()))
        assert largest <= found.sums["conv2"] * (1 + 1e-6)


def test_a_model_that_leaves_nothing_for_fp16_is_refused(slices: Slices) -> None:
    with pytest.raises(BundleError, match="no convolution of the model can be FP16"):
        derive_half(network([1e6]), slices, slices.images[:1], threads=1)


def test_a_nan_in_a_weight_is_refused(slices: Slices) -> None:
    fp32 = network([1.0, 2.0, 3.0])
    weight = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    weight[1, 1] = np.nan
    next(t for t in fp32.graph.initializer if t.name == "w2").CopyFrom(
        numpy_helper.from_array(weight, "w2")
    )
    with pytest.raises(BundleError, match="NaN or infinite: c2, made by the node conv2"):
        derive_half(fp32, slices, slices.images[:1], threads=1)


def test_a_golden_slice_that_overflows_although_no_real_one_did_is_found(slices: Slices) -> None:
    dark = Slices(np.minimum(slices.images, 120))  # relu1 is zero for all of them
    with pytest.raises(ParityError, match="conv3 makes NaN or infinity"):
        derive_half(
            network([1.0, 60000.0, 60000.0]), dark, np.full((1, 32, 32, 3), 255, np.uint8),
            threads=1,
        )  # fmt: skip


def test_a_difference_from_fp32_is_refused(slices: Slices) -> None:
    # The sigmoid's input is a small difference of large numbers: eleven bits are not enough.
    fp32 = network([1.0, 1.0, 1.0, 1.0], bias=4000.0)
    bias = next(t for t in fp32.graph.initializer if t.name == "b4")
    bias.CopyFrom(numpy_helper.from_array(np.full(3, -12000.3, np.float32), "b4"))
    with pytest.raises(ParityError, match="differs from FP32"):
        derive_half(fp32, slices, slices.images[:1], margin=1.5, threads=1)


@pytest.mark.parametrize("margin", [0.5, 1.0, float("nan"), float("inf")])
def test_a_margin_that_is_none_is_refused(slices: Slices, margin: float) -> None:
    with pytest.raises(UsageError, match="margin"):
        derive_half(network([1.0]), slices, slices.images[:1], margin=margin)


def test_golden_slices_are_required(slices: Slices) -> None:
    with pytest.raises(InputError, match="golden"):
        derive_half(network([1.0]), slices, slices.images[:0], threads=1)


@pytest.mark.parametrize("model", [toy.classifier(), toy.segmenter()], ids=["pool", "reshape"])
def test_the_toy_models(model: onnx.ModelProto) -> None:
    images = np.stack([toy.lesion_slice(n, lesion=n % 2 == 0) for n in range(4)])
    found = derive_half(model, Slices(images), images[:2], threads=1)
    assert found.certificate.reference_error < 0.02
    assert all("Sigmoid" in found.float32[k] or "sigmoid" in found.float32[k] or
               "without a convolution" in found.float32[k] for k in found.float32)  # fmt: skip


def test_the_reference_adds_up_in_float32_and_stores_in_fp16() -> None:
    # What the module says of onnx.reference, so that a change of it is seen: 4096 ones would
    # stop at 2048 in FP16, and 2049 is no FP16 number.
    for ones, wanted in ((4096, 4096.0), (2049, 2048.0), (65535, np.inf)):
        graph = helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["y"])],
            "sum",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, ones, 1, 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 1, 1, 1])],
            [numpy_helper.from_array(np.ones((1, ones, 1, 1), np.float16), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        with np.errstate(over="ignore"):
            (found,) = ReferenceEvaluator(model).run(
                None, {"x": np.ones((1, ones, 1, 1), np.float16)}
            )
        assert found.dtype == np.float16
        assert float(found.ravel()[0]) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("role", ["classifier", "segmenter"])
def test_the_shipped_models_on_real_slices(data_root: Path, role: Any) -> None:
    _, found, _ = find_slices(data_root / "lgg")
    chosen = found[::75]
    images = np.stack(
        [prepare(load_image(DatasetSlice(*item, tumor_px=0))).image for item in chosen]
    )
    bundle = open_small()
    fp32 = onnx.load_from_string(bundle.read_model(role, "fp32"))
    patients = tuple(sorted({item.patient for item in chosen}))
    golden = read_golden(bundle).images[:2]
    half = derive_half(fp32, Slices(images, patients=patients), golden, threads=2)
    certificate = half.certificate
    assert isinstance(certificate, HalfCertificate)
    assert certificate.margin > 100
    assert certificate.reference_error < 0.02
    kept = {"classifier": 5, "segmenter": 2}[role]
    assert len(certificate.float32_nodes) == kept
    casts = [node for node in half.model.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2, "one from uint8, one to the float32 end"
    stored = half.model.SerializeToString()
    assert len(stored) < 0.52 * len(fp32.SerializeToString())
    outputs = []
    for model in (fp32.SerializeToString(), stored):
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        outputs.append(np.concatenate([session.run(None, {"image": i[None]})[0] for i in images]))
    assert np.abs(outputs[0] - outputs[1]).max() < 0.03
    assert np.abs(outputs[0] - outputs[1]).mean() < 1e-3
