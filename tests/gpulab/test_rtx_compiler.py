"""Every model, compiled by the real TensorRT-RTX compiler: kernels and their datatypes.

Nothing here runs on a GPU: the compiler parses, types and compiles; what the engines compute,
and how fast, is not known from this.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from small import open_small

pytest.importorskip("onnx", reason="the models are derived with onnx: needs the test extra")
import onnx

from scanside_calibration.int8.placement import activations, quantise
from scanside_export.engine.declared import meant_int8
from scanside_export.engine.exchange import Built, Request, Settings
from scanside_export.engine.layers import convolutions, problems
from scanside_export.engine.process import Limits, run_child, worker_command
from scanside_export.engine.typed import with_half

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

CONVOLUTIONS = {"classifier": 53, "segmenter": 28}
AMAX = 6.0
"""A range for every activation: datatypes do not depend on it."""


class Compiled(NamedTuple):
    built: Built
    content: bytes
    plan: bytes


@pytest.fixture(params=["classifier", "segmenter"])
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def compiled(
    content: bytes, typed: bytes, precision: Any, folder: Path, path: Path,
    patch: pytest.MonkeyPatch, capabilities: tuple[str, ...] = ("8.6",),
) -> Compiled:  # fmt: skip
    for name, held in (("typed", typed), ("flagged", content)):
        (folder / name).write_bytes(held)
    files = {name: str(folder / name) for name in ("typed", "flagged", "plan", "timing")}
    settings = Settings(
        target="rtx", precision=precision, profile=(1, 1, 4), capabilities=capabilities
    )
    patch.setenv("PYTHONPATH", str(path))
    asked = msgspec.json.encode(Request(settings=settings, **files))
    outcome = run_child(worker_command("rtx"), asked, Limits(600.0), lambda _: None)
    assert isinstance(outcome.result, Built)
    return Compiled(outcome.result, content, (folder / "plan").read_bytes())


def types(found: Compiled) -> Counter[tuple[str, str]]:
    return Counter(
        ("/".join(sorted(set(layer.inputs))), "/".join(sorted(set(layer.outputs))))
        for layer in convolutions(found.built.layers)
    )


def test_fp32(role: str, rtx_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = open_small().read_model(role, "fp32")
    found = compiled(content, content, "fp32", tmp_path, rtx_path, monkeypatch)
    assert types(found) == {("Float", "Float"): CONVOLUTIONS[role]}
    assert found.built.strongly_typed
    assert found.built.memory["activations"] > 0
    assert len(found.plan) > len(content) // 2


def test_int8_with_fp16_around_it(
    role: str, rtx_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_from_string(open_small().read_model(role, "fp32"))
    content = quantise(model, dict.fromkeys(activations(model), AMAX)).SerializeToString()
    typed = with_half(content, scale_after=True)
    found = compiled(content, typed, "int8", tmp_path, rtx_path, monkeypatch)
    assert types(found) == {("Int8", "Half"): CONVOLUTIONS[role]}
    assert problems(found.built.layers, meant_int8(content), no_float=True) == ()


def test_int8_with_fp32_around_it_writes_float_and_that_is_said(
    rtx_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_from_string(open_small().read_model("segmenter", "fp32"))
    content = quantise(model, dict.fromkeys(activations(model), AMAX)).SerializeToString()
    found = compiled(content, content, "int8", tmp_path, rtx_path, monkeypatch)
    assert types(found) == {("Int8", "Float"): CONVOLUTIONS["segmenter"]}
    said = problems(found.built.layers, meant_int8(content), no_float=True)
    assert len(said) == CONVOLUTIONS["segmenter"]


def test_fp16(role: str, rtx_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scanside_calibration.half.convert import convert
    from scanside_calibration.half.graphs import read_float_graph

    model = onnx.load_from_string(open_small().read_model(role, "fp32"))
    content = convert(model, read_float_graph(model), {}).SerializeToString()
    found = compiled(content, content, "fp16", tmp_path, rtx_path, monkeypatch)
    assert types(found) == {("Half", "Half"): CONVOLUTIONS[role]}
