"""The ``cuda`` and ``ort-trt`` backends; what the providers compute was not run on a GPU."""

from __future__ import annotations

import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gpuproviders import CPU, CUDA, TENSORRT, GpuProviders
from scanside import backends, open_bundle
from scanside.backends import cuda, nvidia, orttrt
from scanside.backends.placement import LIGHT, Ran, check_placement, read_profile, shown
from scanside.errors import BackendError, BundleError, DeviceLostError
from scanside.golden import read_golden

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.bundle import Bundle

NAMES = ("cuda", "ort-trt")
MODULES = {"cuda": cuda, "ort-trt": orttrt}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GpuProviders:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")  # so that what is set is undone
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    providers = GpuProviders()
    providers.install(monkeypatch)
    for module in MODULES.values():
        monkeypatch.setattr(module, "provider_missing", lambda _: None)
    return providers


@pytest.fixture
def bundle(toy_path: Path) -> Bundle:
    return open_bundle(toy_path)


def engines(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "ort-trt").glob("*/*.engine"))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_the_cpu(name: str, gpu: GpuProviders, bundle: Bundle) -> None:
    golden = read_golden(bundle)
    backend = backends.load(name, bundle).backend
    for count in (len(golden.images), 1):
        images = golden.images[:count]
        probability, plane = backend.classify(images), backend.segment(images)
        assert probability.dtype == plane.dtype == np.float32
        np.testing.assert_allclose(probability, golden.tumor_probability[:count], atol=1e-5)
        np.testing.assert_allclose(plane, golden.mask_probability[:count], atol=1e-5)
    assert {device for _, device in gpu.device} == {"cuda:0"}
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.classify(images[:1])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_allocated_on_the_device_after_the_first_call_of_a_size(
    name: str, gpu: GpuProviders, bundle: Bundle
) -> None:
    images = read_golden(bundle).images
    backend = backends.load(name, bundle).backend
    for _ in range(2):
        backend.classify(images[:1])
        backend.segment(images[:2])
    before = len(gpu.device)
    results = [backend.classify(images[n : n + 1]) for n in range(len(images))]
    backend.segment(images[:2])
    assert len(gpu.device) == before
    # A result is the caller's own: the next call does not touch it.
    wanted = read_golden(bundle).tumor_probability
    np.testing.assert_allclose(np.concatenate(results), wanted, atol=1e-5)


def test_more_than_the_largest_batch_is_computed_in_turns(
    gpu: GpuProviders, bundle: Bundle
) -> None:
    image = read_golden(bundle).images[:1]
    backend = backends.load("cuda", bundle).backend
    assert backend.classify(np.repeat(image, 19, axis=0)).shape == (19, 1)
    assert {shape[0] for shape, _ in gpu.device} == {1, 8, 3}


@pytest.mark.parametrize("name", NAMES)
def test_streaming_has_two_lanes(name: str, gpu: GpuProviders, bundle: Bundle) -> None:
    assert MODULES[name].load(bundle, "fp32", lanes=16).lanes == 2
    assert MODULES[name].load(bundle, "fp32", lanes=1).lanes == 1
    assert len(gpu.made) == 4


@pytest.mark.parametrize("name", NAMES)
def test_what_it_is_is_said(name: str, gpu: GpuProviders, bundle: Bundle) -> None:
    said = backends.load(name, bundle).backend.describe()
    first = gpu.made[0][0][0]
    assert first == {"cuda": CUDA, "ort-trt": TENSORRT}[name]
    assert said["provider"] == first
    assert said["classifier nodes"].endswith(f" on {first}")


def test_no_session_may_fall_back_or_compute_in_tf32(gpu: GpuProviders, bundle: Bundle) -> None:
    backends.load("cuda", bundle)
    assert gpu.entries == [{"session.disable_cpu_ep_fallback": "1"}] * 2
    assert all(options["use_tf32"] == "0" for made in gpu.made for _, options in made)
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("broken", "wanted"),
    [
        ({"package": (CPU,)}, "has no "),
        ({"broken": (TENSORRT, CUDA)}, "gave a session on CPUExecutionProvider"),
        ({"elsewhere": {"Sigmoid": CPU}}, "Sigmoid on CPUExecutionProvider"),
        ({"elsewhere": {"Cast": CPU}}, "Cast on CPUExecutionProvider"),
    ],
    ids=["package", "library", "arithmetic", "any node"],
)
def test_a_session_that_is_not_on_the_gpu_is_refused(
    name: str, broken: dict[str, Any], wanted: str, gpu: GpuProviders, bundle: Bundle
) -> None:
    for attribute, value in broken.items():
        setattr(gpu, attribute, value)
    with pytest.raises(BackendError, match=wanted) as caught:
        backends.load(name, bundle)
    assert caught.value.remedy
    assert caught.value.exit_code == 8


def test_beside_tensorrt_cuda_may_only_rearrange(gpu: GpuProviders, bundle: Bundle) -> None:
    gpu.elsewhere = {"Cast": CUDA, "Transpose": CUDA}
    assert (
        "CUDAExecutionProvider"
        in (backends.load("ort-trt", bundle).backend.describe()["classifier nodes"])
    )
    gpu.elsewhere = {"AveragePool": CUDA}
    with pytest.raises(BackendError, match="AveragePool on CUDAExecutionProvider"):
        backends.load("ort-trt", bundle)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_driver_the_error_says_what_to_do(
    name: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia, "DRIVER", "libno-such-driver.so.1")
    with pytest.raises(BackendError, match="no NVIDIA driver") as caught:
        backends.load(name, bundle)
    assert caught.value.exit_code == 8
    assert "scanside[gpu]" in caught.value.remedy


def test_the_cpu_package_has_no_gpu_provider() -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this is onnxruntime-gpu")
    assert "libonnxruntime_providers_cuda.so" in (nvidia.provider_missing("cuda") or "")


@pytest.mark.usefixtures("gpu")
def test_exchanged_models_are_refused(bundle: Bundle) -> None:
    from scanside.backends.gpusession import open_gpu_session

    content = bundle.read_model("segmenter", "fp32")
    with pytest.raises(BundleError, match=r"\$\.models\.classifier\.fp32"):
        open_gpu_session(content, "classifier", "fp32", [(CUDA, {})])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", DeviceLostError),
        ("CUDA error 719: unspecified launch failure", DeviceLostError),
        ("CUDA failure 2: out of memory ; GPU=0", BackendError),
        ("invalid argument", BackendError),
    ],
)
def test_an_error_that_stays_is_told_from_one_that_does_not(
    said: str, kind: type[BackendError], gpu: GpuProviders, bundle: Bundle
) -> None:
    backend = backends.load("cuda", bundle).backend
    image = read_golden(bundle).images[:1]
    gpu.fails = said
    with pytest.raises(BackendError, match="ONNX Runtime failed on tumor_probability") as caught:
        backend.classify(image)
    assert type(caught.value) is kind
    gpu.fails = ""
    backend.classify(image)  # its lane is free again


# The engines that TensorRT's provider keeps


def test_each_model_has_a_folder_of_its_own_and_engines_are_kept(
    gpu: GpuProviders, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        backends.load("ort-trt", bundle)
    assert caplog.text.count("builds an engine") == 2
    first = engines(tmp_path)
    assert len({file.parent for file in first}) == 2
    paths = [made[0][1]["trt_engine_cache_path"] for made in gpu.made]
    assert sorted(paths) == [str(file.parent) for file in first]
    caplog.clear()
    gpu.engine = b"another"
    backends.load("ort-trt", bundle)
    assert not caplog.text
    assert [file.read_bytes() for file in engines(tmp_path)] == [b"engine", b"engine"]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("harm", ["changed", "foreign", "unlisted", "link", "folder"])
def test_an_engine_that_is_not_what_was_kept_is_never_loaded(
    harm: str, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backends.load("ort-trt", bundle)
    file = engines(tmp_path)[0]
    if harm == "changed":
        file.write_bytes(b"engin\0")
    elif harm == "foreign":
        file.write_bytes(b"another")
        file.chmod(0o666)
    elif harm == "unlisted":
        (file.parent / "extra.engine").write_bytes(b"engine")
    elif harm == "link":
        file.unlink()
        file.symlink_to(engines(tmp_path)[-1])
    else:
        (file.parent / "deep").mkdir()
    backends.load("ort-trt", bundle)
    assert "is not what was kept there" in caplog.text
    assert [held.read_bytes() for held in engines(tmp_path)] == [b"engine", b"engine"]
    assert not [held for held in engines(tmp_path) if held.is_symlink()]


def test_an_engine_of_a_session_that_failed_is_built_again(
    gpu: GpuProviders, bundle: Bundle, tmp_path: Path
) -> None:
    gpu.elsewhere = {"Sigmoid": CPU}
    with pytest.raises(BackendError):
        backends.load("ort-trt", bundle)
    gpu.elsewhere, gpu.engine = {}, b"whole"
    backends.load("ort-trt", bundle)
    assert [file.read_bytes() for file in engines(tmp_path)] == [b"whole", b"whole"]


def test_without_a_cache_folder_nothing_is_kept(
    gpu: GpuProviders, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", "")
    backends.load("ort-trt", bundle)
    assert all(made[0][1]["trt_engine_cache_enable"] == "0" for made in gpu.made)


def test_precisions_are_told_to_tensorrt() -> None:
    flags = {
        precision: tuple(
            orttrt._options(precision, 8)[f"trt_{flag}_enable"] for flag in ("fp16", "int8")
        )
        for precision in ("fp32", "fp16", "int8")
    }
    assert flags == {"fp32": ("0", "0"), "fp16": ("1", "0"), "int8": ("1", "1")}
    assert orttrt._options("int8", 8)["trt_profile_max_shapes"] == "image:8x256x256x3"


# Where nodes ran


def test_a_profile_without_nodes_proves_nothing() -> None:
    for content in (b"[]", b"", b'{"a": 1}', b'[{"cat": "Session", "name": "run"}]'):
        with pytest.raises(BackendError, match="profile"):
            read_profile(content)


def test_only_what_is_light_may_be_a_helpers() -> None:
    check_placement([Ran("Conv", CUDA)], CUDA)
    for operator in LIGHT:
        check_placement([Ran("TRTKernel_1", TENSORRT), Ran(operator, CUDA)], TENSORRT, [CUDA])
        with pytest.raises(BackendError):
            check_placement([Ran(operator, CPU)], TENSORRT, [CUDA])
    for operator in ("Conv", "Gemm", "MatMul", "Resize", "QLinearConv", "Add"):
        with pytest.raises(BackendError, match=operator):
            check_placement([Ran(operator, CUDA)], TENSORRT, [CUDA])


def test_counts_are_said_by_provider() -> None:
    assert shown(Counter({Ran("Conv", CUDA): 3, Ran("Cast", CPU): 1, Ran("Add", CUDA): 2})) == (
        "1 on CPUExecutionProvider, 5 on CUDAExecutionProvider"
    )
