from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import toy
from peerbench.floatbundle import write_float_bundle
from peerbench.slicechoice import whole_patients
from scanside import Pipeline, open_bundle
from scanside.evaluation.slices import DatasetSlice

if TYPE_CHECKING:
    import onnx


def test_whole_patients_are_taken_in_order() -> None:
    slices = [
        DatasetSlice(patient, number, Path(f"{patient}{number}"), None, 0)
        for patient, count in (("a", 3), ("b", 4), ("c", 5))
        for number in range(count)
    ]
    assert [item.patient for item in whole_patients(slices, 4)] == ["a"] * 3 + ["b"] * 4
    assert len(whole_patients(slices, 3)) == 3
    assert len(whole_patients(slices, 99)) == 12


def test_a_float_bundle_runs(tmp_path: Path, toy_path: Path) -> None:
    source = open_bundle(toy_path)
    manifest = source.manifest
    files: dict[str, onnx.ModelProto] = {
        "classifier": toy.classifier(), "segmenter": toy.segmenter(),
    }  # fmt: skip
    # The toy bundle has FP32 only: what is read of the INT8 entry is its opset.
    for models in manifest.models.values():
        models["int8"] = models["fp32"]
    try:
        made = write_float_bundle(
            source,
            {role: model.SerializeToString() for role, model in files.items()},  # type: ignore[misc]
            tmp_path / "float",
        )
    finally:
        for models in manifest.models.values():
            del models["int8"]
    assert made.manifest.precisions == ("fp32",)
    assert made.manifest.thresholds == manifest.thresholds
    with Pipeline.open(made, backend="cpu") as pipeline:
        assert pipeline.analyse(toy.lesion_slice(0)).tumor is True
