"""The builder's calls, on a fake of each version's API: what a version lacks is not touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import fake_tensorrt
from scanside_export.engine.compiler import compile_engine
from scanside_export.engine.exchange import Built, Progress, Request, Said, Settings
from scanside_export.engine.library import ChildError, load_library
from scanside_export.engine.tell import Phases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside_export.engine.exchange import Event


@pytest.fixture
def compile_with(tmp_path: Path) -> Callable[..., tuple[Built, list[Event]]]:
    """Build with a fake; returns what was built and what was told."""

    def call(trt: Any, **settings: Any) -> tuple[Built, list[Event]]:
        for name in ("typed", "flagged"):
            (tmp_path / name).write_bytes(name.encode())
        told: list[Event] = []
        files = {n: str(tmp_path / n) for n in ("typed", "flagged", "plan", "timing")}
        rtx = hasattr(trt, "ComputeCapability")
        given = {"target": "rtx" if rtx else "trt", "precision": "int8", "profile": (1, 2, 4)}
        request = Request(settings=Settings(**given | settings), **files)
        return compile_engine(trt, request, told.append), told

    return call


@pytest.mark.parametrize("version", fake_tensorrt.VERSIONS)
def test_every_version_builds_through_the_same_calls(
    version: str, compile_with: Callable[..., Any], tmp_path: Path
) -> None:
    trt = fake_tensorrt.make(version)
    built, told = compile_with(trt, workspace=64, tactic_dram=32, level=5)
    typed = version != "8.6.1"
    assert built.strongly_typed is typed
    assert (tmp_path / "plan").read_bytes() == (b"PLANtyped" if typed else b"PLANflagged")
    assert trt.asked["profile"] == {"image": ((1, 256, 256, 3), (2, 256, 256, 3), (4, 256, 256, 3))}
    pools = trt.MemoryPoolType
    assert trt.asked["pools"] == {pools.WORKSPACE: 64 << 20, pools.TACTIC_DRAM: 32 << 20}
    assert trt.asked["builder_optimization_level"] == 5
    assert trt.asked["flags"] == (set() if typed else {"INT8", "FP16"})
    # Where a profile has to be asked to serve several contexts, it is.
    assert ("preview" in trt.asked) is hasattr(trt, "PreviewFeature")
    assert [layer.nodes for layer in built.layers] == [("conv1", "relu"), ("conv2",)] or (
        version == "rtx"
    )
    assert built.memory["activations"] > 0
    shares = [event.done for event in told if isinstance(event, Progress)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert Said(error=False, text="the fake warns") in told


@pytest.mark.parametrize(
    ("precision", "rest", "flags"),
    [
        ("fp32", "fp16", set()),
        ("fp16", "fp16", {"FP16"}),
        ("int8", "fp16", {"INT8", "FP16"}),
        ("int8", "fp32", {"INT8"}),
    ],
)
def test_flags_where_types_do_not_come_from_the_graph(
    precision: str, rest: str, flags: set[str], compile_with: Callable[..., Any]
) -> None:
    trt = fake_tensorrt.make("8.6.1")
    compile_with(trt, precision=precision, rest=rest)
    assert trt.asked["flags"] == flags


def test_where_the_typed_graph_is_refused_flags_are_taken_and_that_is_said(
    compile_with: Callable[..., Any],
) -> None:
    trt = fake_tensorrt.make("10.3.0", refuse_typed=True)
    built, _ = compile_with(trt)
    assert not built.strongly_typed
    assert trt.asked["flags"] == {"INT8", "FP16"}
    assert "Conv conv1: the fake refuses it" in built.notes[0]


@pytest.mark.parametrize("version", ["11.4.0.106", "rtx"])
def test_without_flags_a_refused_graph_is_an_error(
    version: str, compile_with: Callable[..., Any]
) -> None:
    with pytest.raises(ChildError, match="refuses the model: Conv conv1") as refused:
        compile_with(fake_tensorrt.make(version, refuse_typed=True))
    assert refused.value.failed.kind == "model"


@pytest.mark.parametrize("version", fake_tensorrt.VERSIONS)
@pytest.mark.parametrize(("fail", "said"), [("parse", "the fake refuses"), ("build", "of tactics")])
def test_what_fails_says_why(
    version: str, fail: str, said: str, compile_with: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(ChildError, match=said):
        compile_with(fake_tensorrt.make(version, fail=fail))
    assert not (tmp_path / "plan").exists()


def test_compatibility_switches(compile_with: Callable[..., Any]) -> None:
    trt = fake_tensorrt.make("10.13.3.9")
    compile_with(trt, hardware="same", version_compatible=True)
    level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    assert trt.asked["hardware_compatibility_level"] == level
    assert trt.asked["flags"] == {"VERSION_COMPATIBLE"}


def test_a_switch_that_a_version_lacks_is_an_error(compile_with: Callable[..., Any]) -> None:
    with pytest.raises(ChildError, match="has no HardwareCompatibilityLevel.SAME") as refused:
        compile_with(fake_tensorrt.make("8.6.1"), hardware="same")
    assert "this version has AMPERE_PLUS, NONE" in refused.value.failed.remedy


def test_compute_capabilities(compile_with: Callable[..., Any]) -> None:
    trt = fake_tensorrt.make("rtx")
    compile_with(trt, capabilities=("8.6", "12.0"))
    held = trt.ComputeCapability
    assert trt.asked["capabilities"] == {0: held.SM86, 1: held.SM120}
    with pytest.raises(ChildError, match="has no ComputeCapability.SM121"):
        compile_with(trt, capabilities=("12.1",))


@pytest.mark.parametrize(
    ("kept", "left"),
    [(None, b"+timed"), (b"abc", b"abc+timed"), (b"of another version", b"+timed")],
)
def test_the_timing_cache_goes_on(
    kept: bytes | None, left: bytes, compile_with: Callable[..., Any], tmp_path: Path
) -> None:
    if kept is not None:
        (tmp_path / "timing").write_bytes(kept)
    compile_with(fake_tensorrt.make("10.3.0"))
    assert (tmp_path / "timing").read_bytes() == left


def test_ahead_of_time_nothing_is_timed(compile_with: Callable[..., Any], tmp_path: Path) -> None:
    trt = fake_tensorrt.make("rtx")
    compile_with(trt)
    assert not (tmp_path / "timing").exists()
    assert ("Runtime", "deserialize_cuda_engine") not in trt.touched


def test_tf32_is_off_unless_it_is_asked_for(compile_with: Callable[..., Any]) -> None:
    trt = fake_tensorrt.make("10.3.0")
    compile_with(trt, precision="fp32", tf32=True)
    assert ("IBuilderConfig", "clear_flag") not in trt.touched
    compile_with(trt, precision="fp32")
    assert ("IBuilderConfig", "clear_flag") in trt.touched


@pytest.mark.parametrize("target", ["trt", "rtx"])
def test_a_library_that_is_not_installed_has_a_remedy(
    target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "onnxruntime_ep_nv_tensorrt_rtx"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ChildError, match="not installed here") as refused:
        load_library(target)
    assert "pip install" in refused.value.failed.remedy


def test_phases_within_phases_never_fall() -> None:
    phases = Phases()
    phases.start("outer", None, 2)
    phases.start("inner", "outer", 4)
    assert phases.step("inner", 0) == pytest.approx(1 / 8)
    assert phases.step("inner", 3) == pytest.approx(1 / 2)
    assert phases.finish("inner") == pytest.approx(1 / 2)
    assert phases.step("outer", 0) == pytest.approx(1 / 2)
    phases.start("another", "outer", 10)
    assert phases.step("another", 4) == pytest.approx(3 / 4)
    phases.finish("another")
    assert phases.finish("outer") == 1.0
    assert phases.step("unknown", 3) == 1.0
