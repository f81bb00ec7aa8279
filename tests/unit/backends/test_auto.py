"""``--backend auto``: the best that can be used, and why each better one was not taken."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from scanside import backends, open_bundle
from scanside.backends import nvidia
from scanside.errors import BackendError, BundleError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done
    from scanside.bundle import Bundle


@pytest.fixture
def bundle(toy_path: Path) -> Bundle:
    return open_bundle(toy_path)


@pytest.fixture
def without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "DRIVER", "libno-such-driver.so.1")


class Gpu:
    """GPU backends of which each is what a test says: an object, an error, or a reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **said: object) -> None:
        self.loaded: list[str] = []
        table = {name.replace("_", "-"): f"stub_{name}" for name in said}
        for name, what in said.items():
            module = ModuleType(f"stub_{name}")
            module.unavailable = lambda w=what: w if isinstance(w, str) else None
            module.load = self._loader(name, what)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(backends, "ON_GPU", table)
        monkeypatch.setattr(backends, "BACKENDS", table | backends.ON_CPU)

    def _loader(self, name: str, what: object) -> Callable[..., object]:
        def load(*_: object, lanes: int) -> object:
            assert lanes >= 1
            self.loaded.append(name)
            if isinstance(what, Exception):
                raise what
            return what

        return load


BEST, NEXT = object(), object()


def test_the_first_that_can_be_used_is_taken(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(monkeypatch, tensorrt=BEST, ort_trt=NEXT)
    assert backends.load("auto", bundle) == (BEST, None, None)
    assert gpu.loaded == ["tensorrt"]


@pytest.mark.parametrize(
    "error", [BackendError("the device is gone"), EngineError("no engine was built yet")]
)
def test_why_a_better_one_was_not_taken_is_said(
    error: Exception, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gpu(monkeypatch, tensorrt=error, ort_trt="its library is not there", cuda=NEXT)
    found = backends.load("auto", bundle)
    assert found.backend is NEXT
    assert found.fallback == f"tensorrt: {error}; ort-trt: its library is not there"


def test_a_bundle_that_is_refused_is_an_error_and_no_reason_to_go_on(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gpu(monkeypatch, tensorrt=BundleError("it holds no fp16"), cuda=NEXT)
    with pytest.raises(BundleError, match="fp16"):
        backends.load("auto", bundle)


def test_reasons_that_are_the_same_are_said_once(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gpu(monkeypatch, tensorrt="no driver", ort_trt="no library", cuda="no driver")
    found = backends.load("auto", bundle)
    assert found.backend.name in backends.ON_CPU
    assert (found.fallback or "").startswith("tensorrt, cuda: no driver; ort-trt: no library")


def test_a_named_one_is_never_replaced(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    Gpu(monkeypatch, ort_trt=BackendError("the device is gone"), cuda=NEXT)
    with pytest.raises(BackendError, match="the device is gone"):
        backends.load("ort-trt", bundle)


@pytest.mark.usefixtures("without_driver")
def test_the_command_line_and_the_result_say_why_the_gpu_was_not_used(
    toy_path: Path, scanside: Callable[..., Done], tmp_path: Path
) -> None:
    import cv2

    import toy

    cv2.imwrite(str(tmp_path / "slice.png"), toy.lesion_slice(1)[..., ::-1])
    done = scanside("run", tmp_path / "slice.png", "--bundle", toy_path, "--format", "jsonl")
    assert done.code == 0, done.err
    wanted = f"{', '.join(backends.ON_GPU)}: there is no NVIDIA driver here"
    assert wanted in done.err
    total = json.loads(done.out.splitlines()[-1])
    assert total["type"] == "run"
    assert wanted in total["fallback"]
    verified = scanside("verify", toy_path, "--json")
    assert wanted in verified.err
    assert wanted in json.loads(verified.out)["fallback"]
    for name in backends.ON_GPU:
        named = scanside("run", tmp_path / "slice.png", "--bundle", toy_path, "--backend", name)
        assert named.code == 8
        assert "there is no NVIDIA driver here" in named.err
        assert "pip install" in named.err or "scanside doctor" in named.err


@pytest.mark.usefixtures("without_driver")
def test_asking_whether_a_gpu_can_be_used_imports_no_library() -> None:
    code = """
import sys
from importlib import import_module
from scanside.backends import ON_GPU
print([import_module(module).unavailable() is None for module in ON_GPU.values()])
print(sorted({"onnxruntime", "tensorrt", "pycuda"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "[]"
