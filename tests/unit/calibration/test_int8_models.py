"""The models that ship, quantised end to end on real slices, as ONNX Runtime runs the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest

from scanside.evaluation.dataset import DatasetSlice, load_image
from scanside_calibration.int8.bias import correct_biases
from scanside_calibration.int8.check import check_int8
from scanside_calibration.int8.methods import Method, calibrate
from scanside_calibration.int8.placement import activations, quantisable, quantise
from small import open_small

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.contract import Role

pytestmark = pytest.mark.slow

PATIENTS = 8


class Pictures(NamedTuple):
    calibration: list[NDArray[np.uint8]]
    measured: NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures(data_root: Path) -> Pictures:
    """The middle slices of eight patients: those of six to calibrate, of two to measure on."""
    folders = sorted(path for path in (data_root / "lgg").rglob("*") if path.is_dir())
    found = []
    for folder in folders:
        files = sorted(
            (path for path in folder.iterdir() if path.is_file() and "mask" not in path.stem),
            key=lambda path: int(path.stem.rsplit("_", 1)[1]),
        )
        if len(files) > 8:
            middle = files[len(files) // 2 - 4 : len(files) // 2 + 4]
            slices = [DatasetSlice(folder.name, 0, path, None, 0) for path in middle]
            found.append(np.stack([load_image(each) for each in slices]))
        if len(found) == PATIENTS:
            break
    return Pictures([part[::2] for part in found[:-2]], np.concatenate(found[-2:]))


def predict(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    each = [session.run(None, {"image": image[None]})[0] for image in images]
    return np.concatenate(each).astype(np.float64)


@pytest.mark.parametrize(
    ("role", "count", "megabytes", "largest", "mean"),
    [("classifier", 73, 1.7, 0.15, 0.02), ("segmenter", 47, 0.7, 0.9, 0.002)],
)
def test_a_model_that_ships_keeps_its_answers(
    role: Role, count: int, megabytes: float, largest: float, mean: float, pictures: Pictures
) -> None:
    plain = onnx.load_from_string(open_small().read_model(role, "fp32"))
    assert len(activations(plain)) == count
    amax = calibrate(plain, pictures.calibration, [Method.PERCENTILE_99_999])
    made = quantise(plain, amax[Method.PERCENTILE_99_999])
    made = correct_biases(plain, made, pictures.calibration)
    check_int8(made)
    assert made.ByteSize() < megabytes * 1e6
    reference, found = predict(plain, pictures.measured), predict(made, pictures.measured)
    difference = np.abs(reference - found)
    assert 0 < difference.max() < largest
    assert difference.mean() < mean
    if role == "segmenter":
        one, other = reference >= 0.5, found >= 0.5
        assert one.any()
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.9


def test_a_rollback_of_everything_is_the_float_model(pictures: Pictures) -> None:
    plain = onnx.load_from_string(open_small().read_model("classifier", "fp32"))
    made = quantise(plain, {}, float_nodes=quantisable(plain))
    np.testing.assert_array_equal(
        predict(plain, pictures.measured[:2]), predict(made, pictures.measured[:2])
    )


def unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """What a CPU backend does when it loads the file: behind a Relu uint8, else zero point 128."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    made: set[str] = set()
    for node in model.graph.node:
        behind = made.issuperset(n for n in node.input if n not in held)
        if node.op_type == "Relu" or (behind and node.op_type not in ("Conv", "Add", "Cast")):
            made.update(node.output)
        if node.op_type == "QuantizeLinear":
            zero = np.uint8(0 if node.input[0] in made else 128)
            held[node.input[2]].CopyFrom(onnx.numpy_helper.from_array(zero, node.input[2]))
    return model


@pytest.mark.parametrize(("role", "floats"), [("classifier", 0), ("segmenter", 1)])
def test_the_cpu_runs_the_convolutions_in_integers(
    role: Role, floats: int, pictures: Pictures, tmp_path: Path
) -> None:
    """All but the one before the mask's logits, which stay float."""
    plain = onnx.load_from_string(open_small().read_model(role, "fp32"))
    amax = calibrate(plain, pictures.calibration[:1], [Method.MAX])[Method.MAX]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        unsigned(quantise(plain, amax)).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    wanted = sum(node.op_type == "Conv" for node in plain.graph.node)
    assert kinds.count("QLinearConv") == wanted - floats
