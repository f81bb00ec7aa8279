"""The calibration from a bundle and slices to a bundle that verifies, or to nothing."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

import labelled
import toy
from scanside import Pipeline, open_bundle
from scanside.errors import BundleError, InputError, OutputError, ParityError, UsageError
from scanside.golden import read_golden
from scanside.verification import verify
from scanside_calibration import derive, material, tolerance
from scanside_calibration.bench import Bench
from scanside_calibration.guard import LIMITS, limits_with
from scanside_calibration.int8.methods import Method
from scanside_calibration.observe import Outputs
from scanside_calibration.parts import divide
from scanside_calibration.report import Record, markdown
from scanside_calibration.run import Request, check_request, run
from scanside_calibration.search import Recipe
from scanside_calibration.stated import StatedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from labelled import Labelled
    from scanside.bundle import Bundle


@contextmanager
def quiet(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    assert total > 0, unit

    def update(done: int) -> None:
        assert 0 < done <= total, unit

    yield update


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return labelled.write(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def source(toy_path: Path) -> Bundle:
    return open_bundle(toy_path)


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let toy slices pass as a scanner's."""
    monkeypatch.setattr(material, "refuse_artificial", lambda *_: None)


def request(output: Path, **changes: Any) -> Request:
    return Request(
        output=output,
        precisions=("int8",),
        methods=(Method.MAX, Method.MSE),
        slices=32,
        seed=0,
        limits=LIMITS,
        dropped=(),
        always_analyse=False,
        command="scanside calibrate toy",
    )._replace(**changes)


def calibrate(
    source: Bundle, data: Labelled, asked: Request, *, split: bool = True
) -> tuple[Bundle, Record]:
    record = Record()
    made = run(
        source, data.dataset, data.split if split else None, asked, record,
        stage=quiet, say=lambda _: None,
    )  # fmt: skip
    return made, record


@pytest.mark.usefixtures("drawings")
def test_the_bundle_holds_int8_and_says_where_it_comes_from(
    source: Bundle, data: Labelled, tmp_path: Path
) -> None:
    made, record = calibrate(source, data, request(tmp_path / "out"))
    held = made.manifest
    assert held.precisions == ("fp32", "int8")
    assert held.default_precision == "int8"
    assert held.thresholds == source.manifest.thresholds
    assert made.read_model("classifier", "fp32") == source.read_model("classifier", "fp32")
    said = held.models["segmenter"]["int8"].calibration
    assert said is not None
    assert said.method in {trial.label for trial in record.trials if trial.chosen}
    assert said.split_sha256 == hashlib.sha256(data.split.read_bytes()).hexdigest()
    assert (said.slices, set(said.tools)) == (32, {"scanside", "numpy", "onnx", "onnxruntime"})
    guard = held.guards["int8"]
    assert guard.limits == LIMITS
    assert guard.measured.keys() == LIMITS.keys()
    assert guard.stated is not None
    assert guard.stated.keys() == LIMITS.keys()
    assert guard.dataset_sha256 == data.dataset.sha256
    assert guard.backend.startswith("cpu, onnxruntime")
    assert "quantised-image" in guard.backend, "what computed INT8, not FP32"
    assert read_golden(made).recorded, "the classifier's own outputs"
    assert held.models["classifier"]["int8"].parity.reference.startswith("fp32 of this bundle")
    assert held.provenance.command == "tests; scanside calibrate toy"
    card = made.read("$.card").decode()
    assert card.startswith("# toy\n\n## INT8\n")
    assert "| classifier AUC |" in card
    for precision in held.precisions:
        with Pipeline.open(made, backend="cpu", precision=precision) as pipeline:
            assert all(check.passed for check in verify(made, pipeline))


@pytest.mark.usefixtures("drawings")
def test_fp32_can_be_left_out_and_the_bundle_be_a_zip(
    source: Bundle, data: Labelled, tmp_path: Path
) -> None:
    made, _ = calibrate(source, data, request(tmp_path / "out.zip", dropped=("fp32",)))
    assert made.manifest.precisions == ("int8",)
    assert set(made.manifest.golden.tolerances) == {"int8"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]


@pytest.mark.usefixtures("drawings")
def test_a_loss_that_only_the_stated_arithmetic_has_is_refused(
    source: Bundle, data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(_: StatedBackend, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(images), 1), 0.01, np.float32)

    monkeypatch.setattr(StatedBackend, "classify", blind)
    with pytest.raises(ParityError, match="sensitivity"):
        calibrate(source, data, request(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("drawings")
def test_the_same_call_gives_the_same_bundle(
    source: Bundle, data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, _ = calibrate(source, data, request(tmp_path / "a"))
    second, _ = calibrate(source, data, request(tmp_path / "b"))
    assert first.manifest_sha256 == second.manifest_sha256


@pytest.mark.usefixtures("drawings")
def test_without_a_split_the_manifest_does_not_claim_one(
    source: Bundle, data: Labelled, tmp_path: Path
) -> None:
    made, _ = calibrate(source, data, request(tmp_path / "out"), split=False)
    calibration = made.manifest.models["classifier"]["int8"].calibration
    assert calibration is not None
    assert calibration.split_sha256 is None
    assert "not known to be apart" in made.manifest.guards["int8"].data


@pytest.mark.usefixtures("drawings")
def test_limits_that_nothing_holds_refuse_and_leave_nothing(
    source: Bundle, data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Weights of two bits: the toy's one convolution gives other masks.
    build = Recipe.build
    monkeypatch.setattr(
        Recipe, "build", lambda self, *floats: _with_coarse_weights(build(self, *floats))
    )
    record = Record()
    with pytest.raises(ParityError, match="accuracy guard does not hold") as refused:
        run(
            source, data.dataset, data.split, request(tmp_path / "out"), record,
            stage=quiet, say=lambda _: None,
        )  # fmt: skip
    assert refused.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []
    titles = [table.title for table in record.tables()]
    assert any("sensitivity" in title for title in titles)
    assert any("accuracy guard" in title for title in titles)
    assert "FAIL" in "".join(markdown(table) for table in record.tables())
    document = msgspec.json.decode(msgspec.json.encode(record.document()))
    assert document["guard"]["int8"][-1]["passed"] is False
    assert document["sensitivity"]["segmenter"]


def _with_coarse_weights(content: bytes) -> bytes:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.int8 and values.size > 1 and values.any():
            tensor.CopyFrom(
                numpy_helper.from_array((values // 100 * 100).astype(np.int8), tensor.name)
            )
    coarse: bytes = model.SerializeToString()
    return coarse


@pytest.mark.usefixtures("drawings")
def test_outputs_that_are_not_finite_are_refused(
    source: Bundle, data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Bench.guard

    def broken(self: Bench, models: dict[Any, bytes], precision: Any) -> Any:
        import onnx
        from onnx import numpy_helper

        model = onnx.load_from_string(models["segmenter"])
        for tensor in model.graph.initializer:
            if tensor.name == "gain":
                tensor.CopyFrom(numpy_helper.from_array(np.float32(np.nan), "gain"))
        return real(self, {**models, "segmenter": model.SerializeToString()}, precision)

    monkeypatch.setattr(Bench, "guard", broken)
    with pytest.raises(ParityError, match="not finite"):
        calibrate(source, data, request(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_drawings_are_no_calibration_data(source: Bundle, data: Labelled, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        calibrate(source, data, request(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_few_slices_are_refused(source: Bundle, data: Labelled, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="32 slices or more"):
        calibrate(source, data, request(tmp_path / "out", slices=31))


def test_patients_have_one_part_each(data: Labelled) -> None:
    parts = divide(data.dataset, data.split, 0)
    compared = {item.patient for item in parts.selection}
    guarded = {item.patient for item in parts.validation}
    assert not compared & guarded
    assert not set(parts.ranges) & (compared | guarded)
    assert compared
    assert divide(data.dataset, data.split, 0) == parts
    others = {divide(data.dataset, data.split, seed).ranges for seed in range(9)}
    assert len(others) > 1


def test_a_patient_in_two_parts_is_refused(data: Labelled, tmp_path: Path) -> None:
    split = msgspec.json.decode(data.split.read_bytes())
    split["train"] += split["validation"][:1]
    path = tmp_path / "leak.json"
    path.write_bytes(msgspec.json.encode(split))
    with pytest.raises(InputError, match="in train and in validation"):
        divide(data.dataset, path, 0)


def test_a_training_part_of_two_patients_is_refused(data: Labelled, tmp_path: Path) -> None:
    split = msgspec.json.decode(data.split.read_bytes())
    split["train"] = split["train"][:2]
    path = tmp_path / "few.json"
    path.write_bytes(msgspec.json.encode(split))
    with pytest.raises(InputError, match="the training part has 2 patients"):
        divide(data.dataset, path, 0)


def test_what_cannot_be_done_is_refused_at_once(source: Bundle, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        check_request(source, request(tmp_path / "out"))
    with pytest.raises(UsageError, match="holds fp32 already"):
        check_request(source, request(tmp_path / "new", precisions=("fp32",)))
    models = {role: {"fp16": held["fp32"]} for role, held in source.manifest.models.items()}
    other = source._replace(
        manifest=msgspec.structs.replace(
            source.manifest, default_precision="fp16", models=models,
            golden=msgspec.structs.replace(
                source.manifest.golden,
                tolerances={"fp16": source.manifest.golden.tolerances["fp32"]},
            ),
        )
    )  # fmt: skip
    with pytest.raises(UsageError, match="no fp32"):
        check_request(other, request(tmp_path / "new"))


def test_a_turned_golden_decision_is_refused(source: Bundle) -> None:
    golden = read_golden(source)
    same = Outputs(golden.tumor_probability, golden.mask_probability)
    thresholds = source.manifest.thresholds
    tolerance.check_decisions(golden, {"cpu": same}, thresholds)
    turned = golden.tumor_probability.copy()
    turned[0] = thresholds.gate - 0.01
    with pytest.raises(ParityError, match=r"slice 0 on cpu: .* became 0\.290"):
        tolerance.check_decisions(golden, {"cpu": same._replace(probability=turned)}, thresholds)


def test_the_golden_tolerance_is_twice_what_was_measured_and_never_tight(source: Bundle) -> None:
    golden = read_golden(source)
    same = Outputs(golden.tumor_probability, golden.mask_probability)
    assert tolerance.tolerance(golden, {"cpu": same}, "int8") == tolerance.FLOORS["int8"]
    apart = same._replace(probability=np.abs(golden.tumor_probability - np.float32(0.05)))
    made = tolerance.tolerance(golden, {"cpu": same, "openvino": apart}, "int8")
    assert made.tumor_probability == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize("moved", [3, 9])
def test_golden_slices_that_would_show_nothing_are_refused(source: Bundle, moved: int) -> None:
    golden = read_golden(source)
    planes = np.roll(golden.mask_probability, moved, axis=2)
    with pytest.raises(ParityError, match="too far from FP32"):
        tolerance.tolerance(golden, {"cpu": Outputs(golden.tumor_probability, planes)}, "int8")


def test_limits_can_be_changed_one_by_one() -> None:
    assert limits_with({"dice_drop": 0.1}) == {**LIMITS, "dice_drop": 0.1}


def test_nodes_without_a_name_get_one() -> None:
    names = [node.name for node in derive.named(toy.classifier()).graph.node]
    assert len(set(names)) == len(names)
    assert all(names)


@pytest.mark.usefixtures("drawings")
def test_a_damaged_source_is_refused(toy_path: Path, data: Labelled, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(toy_path, copy)
    source = open_bundle(copy)
    content = bytearray((copy / "segmenter.fp32.onnx").read_bytes())
    content[-1] ^= 1
    (copy / "segmenter.fp32.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="sha256"):
        calibrate(source, data, request(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
