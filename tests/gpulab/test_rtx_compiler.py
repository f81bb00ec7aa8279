"""Every model, compiled by the real TensorRT-RTX compiler: kernels and their datatypes.

The models are those of the bundle that ships, the small trained ones, and all architectures at
full size as `scanside export` writes them. Nothing here runs on a GPU: the compiler parses, types
and compiles; what the engines compute, and how fast, is not known from this.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from scanside import open_bundle
from scanside_export.engine.declared import meant_int8
from scanside_export.engine.layers import problems
from small import open_small

pytest.importorskip("onnx", reason="the models are derived with onnx: needs the test extra")
from rtx import Compiled, Compiler, convolution_nodes, halved, quantised

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

CONVOLUTIONS = {"classifier": 53, "segmenter": 28, "attention": 40}


@pytest.fixture(params=["classifier", "segmenter"])
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def compile_model(rtx_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return Compiler(rtx_path, tmp_path, monkeypatch)


@pytest.fixture(scope="module", params=list(CONVOLUTIONS))
def exported(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """Name and ONNX file of an architecture at full size, not trained, as it is exported."""
    pytest.importorskip("tf2onnx", reason="needs the train extra")
    pytest.importorskip("tensorflow", reason="needs the train extra")
    from scanside_export.convert import to_onnx
    from scanside_training.models.resnet50 import build_classifier
    from scanside_training.models.resunet import build_segmenter

    name = str(request.param)
    if name == "classifier":
        return name, to_onnx(build_classifier().inference, "classifier").SerializeToString()
    built = build_segmenter(attention=name == "attention")
    return name, to_onnx(built.inference, "segmenter").SerializeToString()


def check_int8(found: Compiled, count: int) -> None:
    """Every convolution reads INT8, and none writes float32."""
    assert found.types == {("Int8", "Half"): count}
    assert problems(found.built.layers, meant_int8(found.content), no_float=True) == ()
    assert len(meant_int8(found.content)) >= count
    assert found.built.strongly_typed


@pytest.mark.parametrize("capabilities", [("8.6",), ("8.6", "8.9", "12.0")])
def test_the_bundle_that_ships(
    role: Any, capabilities: tuple[str, ...], compile_model: Compiler
) -> None:
    content = open_bundle().read_model(role, "int8")
    if len(capabilities) == 1:
        found = compile_model.int8(content)
    else:
        from scanside_export.engine.typed import with_half

        typed = with_half(content, scale_after=True)
        found = compile_model(content, "int8", typed=typed, capabilities=capabilities)
    assert convolution_nodes(content) == CONVOLUTIONS[role]
    check_int8(found, CONVOLUTIONS[role])


def test_the_real_library_takes_its_engine_as_far_as_a_driver_is_needed(
    gpulab: Path, rtx_path: Path, toy_path: Path, tmp_path: Path
) -> None:
    """Built, found, hashed and given to the real library, which says why it stops.

    Its CUDA runtime asks the driver for functions by name; the fake one answers no such question,
    and one that did would be asked next for tables that NVIDIA does not document.
    """
    parts = (rtx_path, gpulab / "pycuda", os.environ.get("PYTHONPATH", ""))
    if not parts[1].is_dir():
        pytest.skip(f"{gpulab} has no PyCUDA for this Python: make gpulab")
    environment = {
        **os.environ,
        "FAKE_CUDA_CAPABILITY": "86",
        "LD_LIBRARY_PATH": str(gpulab / "fakecuda"),
        "PYTHONPATH": os.pathsep.join(map(str, parts)),
        "SCANSIDE_CACHE": str(tmp_path / "cache"),
    }

    def scanside(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scanside", *words],
            check=False, capture_output=True, text=True, env=environment,
        )  # fmt: skip

    done = scanside("build", toy_path, "--target", "rtx", "--compute-capability", "8.6")
    assert done.returncode == 0, done.stderr
    done = scanside("verify", toy_path, "--backend", "tensorrt-rtx")
    assert done.returncode == 4, done.stderr
    assert "the classifier's engine is refused by tensorrt_rtx" in done.stderr
    assert "Cuda Runtime" in done.stderr  # from its own error recorder


def test_fp32(role: Any, compile_model: Compiler) -> None:
    content = open_small().read_model(role, "fp32")
    found = compile_model(content, "fp32")
    assert found.types == {("Float", "Float"): CONVOLUTIONS[role]}
    assert found.built.strongly_typed
    assert found.built.memory["activations"] > 0
    assert len(found.plan) > len(content) // 2


def test_int8_with_fp16_around_it(role: Any, compile_model: Compiler) -> None:
    content = quantised(open_small().read_model(role, "fp32"))
    check_int8(compile_model.int8(content), CONVOLUTIONS[role])


def test_int8_with_fp32_around_it_writes_float_and_that_is_said(compile_model: Compiler) -> None:
    content = quantised(open_small().read_model("segmenter", "fp32"))
    found = compile_model(content, "int8")
    assert found.types == {("Int8", "Float"): CONVOLUTIONS["segmenter"]}
    said = problems(found.built.layers, meant_int8(content), no_float=True)
    assert len(said) == CONVOLUTIONS["segmenter"]


def test_fp16(role: Any, compile_model: Compiler) -> None:
    found = compile_model(halved(open_small().read_model(role, "fp32")), "fp16")
    assert found.types == {("Half", "Half"): CONVOLUTIONS[role]}


@pytest.mark.tf
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_architecture_at_full_size(
    precision: str, exported: tuple[str, bytes], compile_model: Compiler
) -> None:
    name, content = exported
    count = CONVOLUTIONS[name]
    assert convolution_nodes(content) == count
    if precision == "int8":
        check_int8(compile_model.int8(quantised(content)), count)
    elif precision == "fp16":
        found = compile_model(halved(content), "fp16")
        # The classifier ends in a matrix product of its own.
        assert found.reads == {"Half": count + (name == "classifier")}
        floats = [layer for layer in found.built.layers if "Float" in layer.inputs]
        assert {layer.kind for layer in floats} <= {"kgen", "signal", "wait"}
    else:
        assert compile_model(content, "fp32").types == {("Float", "Float"): count}
