from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import toy
from scanside import Pipeline, open_bundle
from scanside.contract import Thresholds
from scanside.errors import BackendError, BundleError, InputError, UsageError
from scanside.pipeline import prepare
from scanside.preprocess import Window

if TYPE_CHECKING:
    from pathlib import Path

THRESHOLDS = Thresholds(gate=0.3, decision=0.9, mask=0.5, chosen="by hand")


class StubBackend:
    """A backend that answers what it is told."""

    name = "stub"
    precision = "fp32"
    lanes = 1
    micro_batch = 1

    def __init__(self, probability: Any, plane: Any = 0.0) -> None:
        self.probability, self.plane = probability, plane
        self.segmented = 0

    def classify(self, images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 1), self.probability, np.float32)

    def segment(self, images: np.ndarray) -> np.ndarray:
        self.segmented += len(images)
        return np.full((len(images), 256, 256), self.plane, np.float32)

    def describe(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        pass


BLANK = np.zeros((256, 256, 3), np.uint8)


def test_a_negative_slice_never_reaches_the_segmenter() -> None:
    backend = StubBackend(0.29)
    result = Pipeline(backend, THRESHOLDS).analyse(BLANK)
    assert backend.segmented == 0
    assert (result.status, result.tumor, result.segmented, result.region) == (
        "ok", False, False, None,
    )  # fmt: skip
    assert "segment" not in result.timings_ms


def test_a_positive_slice_is_segmented() -> None:
    result = Pipeline(StubBackend(0.31, 0.5), THRESHOLDS).analyse(BLANK)
    assert result.tumor is True
    assert result.region is not None
    assert result.region.area == 256 * 256


def test_nan_from_the_classifier_is_indeterminate_and_not_segmented() -> None:
    backend = StubBackend(np.nan)
    result = Pipeline(backend, THRESHOLDS).analyse(BLANK)
    assert backend.segmented == 0
    assert (result.status, result.tumor, result.tumor_probability) == ("indeterminate", None, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -0.5])
def test_a_mask_that_is_no_probability_is_indeterminate(value: float) -> None:
    result = Pipeline(StubBackend(0.5, value), THRESHOLDS).analyse(BLANK)
    assert (result.status, result.tumor, result.region) == ("indeterminate", None, None)


def test_an_output_of_a_wrong_shape_is_an_error() -> None:
    backend = StubBackend(0.5)
    backend.classify = lambda images: np.zeros((len(images), 2), np.float32)  # type: ignore[method-assign]
    with pytest.raises(BackendError, match=r"float32 \[1, 2\].*accepted: float32 \[1, 1\]"):
        Pipeline(backend, THRESHOLDS).analyse(BLANK)


def test_an_output_of_a_wrong_dtype_is_an_error() -> None:
    backend = StubBackend(0.5)
    backend.segment = lambda images: np.zeros((len(images), 256, 256), np.float16)  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="mask_probability is float16"):
        Pipeline(backend, THRESHOLDS).analyse(BLANK)


def test_one_batch_decides_as_single_slices_do(toy_pipeline: Pipeline) -> None:
    slices = [prepare(toy.lesion_slice(n, lesion=n % 3 == 0)) for n in range(7)]
    together = toy_pipeline.analyse_prepared(slices)
    for prepared, found in zip(slices, together, strict=True):
        (alone,) = toy_pipeline.analyse_prepared([prepared])
        assert (found.status, found.tumor, found.segmented) == (
            alone.status, alone.tumor, alone.segmented,
        )  # fmt: skip
        assert (found.region is None) == (alone.region is None)
        if found.region is not None and alone.region is not None:
            assert np.array_equal(found.region.mask, alone.region.mask)


@pytest.mark.parametrize("side", [128, 200, 512])
def test_the_mask_is_on_the_source_grid(toy_pipeline: Pipeline, side: int) -> None:
    reference = toy_pipeline.analyse(toy.lesion_slice(4))
    found = toy_pipeline.analyse(toy.lesion_slice(4, side=side))
    assert found.region is not None
    assert reference.region is not None
    assert found.region.mask.shape == (side, side)
    scale = (side / 256) ** 2
    assert found.region.area == pytest.approx(reference.region.area * scale, rel=0.06)


def test_a_deep_slice_with_its_window_gives_the_8_bit_result(toy_pipeline: Pipeline) -> None:
    eight = toy.lesion_slice(2)
    deep = eight.astype(np.uint16) * 9 + 100
    found = toy_pipeline.analyse(deep, window=Window(100, 100 + 9 * 255))
    wanted = toy_pipeline.analyse(eight)
    assert found.tumor_probability == wanted.tumor_probability
    assert found.region is not None
    assert wanted.region is not None
    assert np.array_equal(found.region.mask, wanted.region.mask)


def test_flair_that_stands_in_is_said(toy_pipeline: Pipeline) -> None:
    flair = toy.lesion_slice(2)[..., 1]
    with pytest.raises(InputError, match="--fill-missing"):
        toy_pipeline.analyse(flair)
    assert toy_pipeline.analyse(flair, fill=True).filled == ("pre-contrast", "post-contrast")
    assert toy_pipeline.analyse(toy.lesion_slice(2), fill=True).filled == ()
    as_rgb = np.repeat(flair[..., None], 3, axis=2)
    assert toy_pipeline.analyse(as_rgb).filled == ("pre-contrast", "post-contrast")
    blank = np.zeros((256, 256), np.uint8)
    assert toy_pipeline.analyse(blank, fill=True).filled == ("pre-contrast", "post-contrast")


def test_a_precision_that_the_bundle_lacks_is_refused(toy_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no int8 classifier.*--precision fp32"):
        Pipeline.open(open_bundle(toy_path), precision="int8")


def test_a_named_backend_is_never_replaced(toy_path: Path) -> None:
    with pytest.raises(BackendError, match="the tensorrt backend can't be used"):
        Pipeline.open(open_bundle(toy_path), backend="tensorrt")
    with pytest.raises(UsageError, match="'gpu'"):
        Pipeline.open(open_bundle(toy_path), backend="gpu")


def test_an_onnxruntime_that_is_broken_is_not_called_missing(
    toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("libfoo.so.1: cannot open shared object file")
        return real(name, *args, **kwargs)

    real = builtins.__import__
    bundle = open_bundle(toy_path)
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(BackendError, match=r"cannot be imported: libfoo\.so\.1"):
        Pipeline.open(bundle, backend="cpu")


def test_an_onnxruntime_that_is_missing_is_named_with_its_extra(
    toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"pip install 'scanside\[cpu\]'"):
        Pipeline.open(open_bundle(toy_path), backend="cpu")
