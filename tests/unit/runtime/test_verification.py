"""Every mutant of the pipeline or the bundle that a user could meet must fail `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

import toy
from scanside import Pipeline, open_bundle
from scanside import pipeline as pipeline_module
from scanside.backends.cpufeatures import CpuFeatures, cpu_features
from scanside.backends.onnxruntime import load
from scanside.bundle import write_bundle
from scanside.contract import Thresholds
from scanside.errors import BundleError
from scanside.golden import read_golden
from scanside.verification import verify
from small import open_small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scanside.bundle import Bundle


class Mutant:
    """A backend that changes what goes in or comes out."""

    def __init__(
        self,
        inner: Any,
        *,
        images: Callable[[np.ndarray], np.ndarray] = lambda x: x,
        planes: Callable[[np.ndarray], np.ndarray] = lambda x: x,
        probabilities: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    ) -> None:
        self.name, self.precision = inner.name, inner.precision
        self._inner, self._images = inner, images
        self._planes, self._probabilities = planes, probabilities

    def describe(self) -> dict[str, str]:
        described: dict[str, str] = self._inner.describe()
        return described

    def classify(self, images: np.ndarray) -> np.ndarray:
        return self._probabilities(self._inner.classify(self._images(images)))

    def segment(self, images: np.ndarray) -> np.ndarray:
        return self._planes(self._inner.segment(self._images(images)))


def failed(bundle: Bundle, pipeline: Pipeline) -> set[str]:
    return {check.name for check in verify(bundle, pipeline) if not check.passed}


@pytest.fixture
def bundle(toy_path: Path) -> Bundle:
    return open_bundle(toy_path)


@pytest.fixture(scope="module")
def default_pipeline() -> Iterator[Pipeline]:
    with Pipeline.open(open_bundle(), backend="cpu") as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def small_pipeline() -> Iterator[Pipeline]:
    with Pipeline.open(open_small(), backend="cpu") as pipeline:
        yield pipeline


def mutated(toy_pipeline: Pipeline, **changes: Any) -> Pipeline:
    return Pipeline(Mutant(toy_pipeline.backend, **changes), toy_pipeline.thresholds)


def shifted(by: int) -> Callable[[np.ndarray], np.ndarray]:
    def shift(images: np.ndarray) -> np.ndarray:
        return np.clip(images.astype(int) + by, 0, 255).astype(np.uint8)

    return shift


def test_an_unchanged_pipeline_passes(bundle: Bundle, toy_pipeline: Pipeline) -> None:
    assert failed(bundle, toy_pipeline) == set()


INPUT_MUTANTS = [
    pytest.param(lambda x: x[..., ::-1].copy(), id="channels swapped (BGR)"),
    pytest.param(lambda x: x[:, ::-1].copy(), id="flipped up-down"),
    pytest.param(lambda x: x[:, :, ::-1].copy(), id="flipped left-right"),
    pytest.param(lambda x: x.transpose(0, 2, 1, 3).copy(), id="transposed"),
    pytest.param(lambda x: np.roll(x, 1, axis=1), id="one row down"),
    pytest.param(lambda x: np.roll(x, -1, axis=2), id="one column left"),
]

GREY_LEVELS = [
    pytest.param(shifted(1), id="grey levels + 1"),
    pytest.param(shifted(-1), id="grey levels - 1"),
    pytest.param(lambda x: (x * (128 / 255)).astype(np.uint8), id="scale 1/255"),
]
"""Changes smaller than what INT8 rounds; the classifier's own recorded outputs show them."""


@pytest.mark.parametrize("change", INPUT_MUTANTS + GREY_LEVELS)
def test_a_changed_input_fails(
    bundle: Bundle, toy_pipeline: Pipeline, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert failed(bundle, mutated(toy_pipeline, images=change))


@pytest.mark.parametrize("change", INPUT_MUTANTS + GREY_LEVELS)
def test_the_bundle_that_ships_sees_them_too(
    default_pipeline: Pipeline, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert failed(open_bundle(), mutated(default_pipeline, images=change))


def test_the_bundle_that_ships_passes_in_every_arithmetic_it_recorded(
    default_pipeline: Pipeline,
) -> None:
    """The narrow one is what a processor without VNNI computes; any computes it the same."""
    bundle = open_bundle()
    recorded = read_golden(bundle).recorded
    assert len(recorded) == 2
    for wide in (False, cpu_features().wide_dot_product):
        backend = load(bundle, "int8", features=CpuFeatures(wide_dot_product=wide))
        pipeline = Pipeline(backend, default_pipeline.thresholds)
        checks = {check.name: check for check in verify(bundle, pipeline)}
        assert checks["recorded outputs"].passed
        assert ("wide" if wide else "narrow") in checks["recorded outputs"].wanted


def test_a_backend_of_another_arithmetic_is_told_what_it_cannot_show(
    default_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(default_pipeline.backend), "describe", lambda _: {})
    checks = {check.name: check for check in verify(open_bundle(), default_pipeline)}
    assert checks["recorded outputs"].passed
    assert "would not show" in checks["recorded outputs"].found


@pytest.mark.parametrize("change", INPUT_MUTANTS + GREY_LEVELS)
def test_trained_models_in_fp32_see_all_of_them(
    small_pipeline: Pipeline, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert failed(open_small(), mutated(small_pipeline, images=change))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda y: np.roll(y, 1, axis=1), id="mask one row down"),
        pytest.param(lambda y: y[:, ::-1], id="mask flipped"),
        pytest.param(lambda y: 1 - y, id="mask inverted"),
        pytest.param(lambda y: y * np.float32(0), id="mask empty"),
        pytest.param(lambda y: y * np.float32(np.nan), id="mask NaN"),
    ],
)
def test_a_changed_mask_fails(
    bundle: Bundle, toy_pipeline: Pipeline, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert "masks" in failed(bundle, mutated(toy_pipeline, planes=change))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: 1 - p, id="probability inverted"),
        pytest.param(lambda p: p * np.float32(np.nan), id="probability NaN"),
        pytest.param(lambda p: p - np.float32(0.002), id="probability off by 0.002"),
    ],
)
def test_a_changed_probability_fails(
    bundle: Bundle, toy_pipeline: Pipeline, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert "tumor_probability" in failed(bundle, mutated(toy_pipeline, probabilities=change))


@pytest.mark.parametrize("field", ["gate", "decision", "mask"])
def test_a_wrong_threshold_fails(bundle: Bundle, toy_pipeline: Pipeline, field: str) -> None:
    held = msgspec.structs.asdict(toy_pipeline.thresholds)
    held[field] += 0.05
    changed = Pipeline(toy_pipeline.backend, Thresholds(**held))
    assert "thresholds" in failed(bundle, changed)


def test_a_bundle_whose_threshold_was_edited_fails(tmp_path: Path) -> None:
    manifest, files = toy.parts()
    held = msgspec.structs.replace(manifest.thresholds, gate=0.25)
    edited = write_bundle(tmp_path / "b", msgspec.structs.replace(manifest, thresholds=held), files)
    with Pipeline.open(edited) as pipeline:
        assert failed(edited, pipeline) == {"thresholds"}


def test_exchanged_models_are_refused(tmp_path: Path) -> None:
    exchanged = write_bundle(tmp_path / "b", *toy.parts(exchange=True))
    with pytest.raises(BundleError, match=r"\$\.models\.classifier\.fp32.*exchanged"):
        Pipeline.open(exchanged)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("preprocess", lambda image, geometry: (image[:, ::-1].copy(), geometry)),
        ("preprocess", lambda image, geometry: (image[..., ::-1].copy(), geometry)),
        ("preprocess", lambda image, geometry: (shifted(1)(image), geometry)),
    ],
)
def test_a_pipeline_that_prepares_otherwise_fails(
    bundle: Bundle,
    toy_pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[..., Any],
) -> None:
    true = getattr(pipeline_module, name)
    monkeypatch.setattr(pipeline_module, name, lambda *a: change(*true(*a)))
    assert failed(bundle, toy_pipeline)


def test_golden_slices_of_another_form_are_refused(tmp_path: Path) -> None:
    manifest, files = toy.parts()
    files["golden.npz"] = b"PK\x03\x04 no array"
    import hashlib

    entry = msgspec.structs.replace(
        manifest.golden,
        sha256=hashlib.sha256(files["golden.npz"]).hexdigest(),
        size=len(files["golden.npz"]),
    )
    odd = write_bundle(tmp_path / "b", msgspec.structs.replace(manifest, golden=entry), files)
    with (
        Pipeline.open(odd, backend="cpu") as pipeline,
        pytest.raises(BundleError, match=r"\$\.golden: golden\.npz"),
    ):
        verify(odd, pipeline)
