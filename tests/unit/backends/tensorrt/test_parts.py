"""Parts of the backend by themselves: slots, the owner, what is imported, graphs that can't be."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_gpu
from engines import keep_engines
from scanside.backends import nvidia, tensorrt, tensorrt_rtx
from scanside.backends.tensorrt import library
from scanside.backends.tensorrt.owner import Owner
from scanside.backends.tensorrt.slots import Slot, Slots
from scanside.engines import engine_folder
from scanside.errors import BackendError, EngineError, ExtraNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.bundle import Bundle


def slot(size: int = 4) -> Slot:
    image: Any = SimpleNamespace(host=np.zeros((size, 256, 256, 3), np.uint8))
    return Slot(image, {}, ExitStack())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=12))
def test_images_are_sent_unless_the_device_has_seen_just_these(
    steps: list[tuple[int, int]],
) -> None:
    held = slot()
    seen: list[int] = []
    for value, count in steps:
        images = np.full((count, 256, 256, 3), value, np.uint8)
        images[0, 0, 0, 0] = 99
        wanted = [value] * count
        assert held.take_over(images) is (seen[:count] != wanted)
        np.testing.assert_array_equal(held.image.host[:count], images)
        if seen[:count] != wanted:
            seen, held.held = wanted, count


def test_images_that_did_not_get_there_are_sent_again() -> None:
    held = slot()
    images = np.ones((1, 256, 256, 3), np.uint8)
    assert held.take_over(images)
    assert held.take_over(images)  # nothing has said that they arrived


def test_a_thread_gets_the_slot_it_had_last() -> None:
    slots = Slots([slot(), slot()])
    with slots.one() as first, slots.one() as second:
        assert first is not second
    mine = threading.get_ident()
    first.thread, second.thread = mine + 1, mine
    with slots.one() as again:
        assert again is second
    slots.take_all()
    with pytest.raises(BackendError, match="was closed"), slots.one():
        pass


def test_an_error_in_the_owner_is_raised_where_it_is_waited_for_and_keeps_nothing() -> None:
    owner = Owner("test")
    kept = []

    def work() -> None:
        held = SimpleNamespace()
        kept.append(held)
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is") as raised:
        owner.run(work)
    frames = [entry.frame for entry in raised.traceback]
    assert not any("held" in frame.f_locals for frame in frames)
    assert len(kept) == 1
    assert owner.run(threading.get_ident) != threading.get_ident()
    owner.end()
    assert owner.ended


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let packages be there, or not, whatever is installed."""

    def put(**modules: ModuleType | None) -> None:
        for name in ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "pycuda", "pycuda.driver",
                     "onnxruntime_ep_nv_tensorrt_rtx"):  # fmt: skip
            monkeypatch.setitem(__import__("sys").modules, name, modules.get(name))
        monkeypatch.setattr(nvidia, "DRIVER", None)  # this process: it can be loaded
        monkeypatch.setattr(library, "DRIVER", None)

    return put


@pytest.mark.parametrize(
    ("machine", "modules", "remedy"),
    [
        ("x86_64", {}, "pip install 'scanside[gpu]'"),
        ("x86_64", {"tensorrt": ModuleType("tensorrt")}, "pip install 'scanside[gpu]'"),
        ("aarch64", {"tensorrt": ModuleType("tensorrt")}, "pip install 'scanside[jetson]'"),
    ],
)
def test_what_is_not_installed_is_named_with_the_command(
    machine: str, modules: dict[str, ModuleType], remedy: str, packages: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    packages(**modules)
    monkeypatch.setattr(library.platform, "machine", lambda: machine)
    with pytest.raises(ExtraNotInstalledError) as refused:
        library.load_libraries("tensorrt")
    assert remedy in refused.value.remedy
    assert refused.value.package == ("pycuda" if modules else "tensorrt")


def test_on_a_jetson_tensorrt_comes_with_jetpack(
    packages: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages()
    monkeypatch.setattr(library.platform, "machine", lambda: "aarch64")
    with pytest.raises(BackendError, match="not installed") as refused:
        library.load_libraries("tensorrt")
    assert "--system-site-packages" in refused.value.remedy


def test_a_library_that_is_broken_is_not_called_absent(
    packages: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages()
    monkeypatch.delitem(__import__("sys").modules, "tensorrt")
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"can't be imported: libnvinfer\.so\.10"):
        library.load_runtime("tensorrt", "a test")


def test_without_a_driver_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "DRIVER", "libno-such-driver.so.1")
    assert "no NVIDIA driver" in (tensorrt.unavailable() or "")
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        library.load_libraries("tensorrt")


def test_what_auto_is_told_before_anything_is_loaded(packages: Callable[..., None]) -> None:
    packages()
    assert tensorrt.unavailable() == "tensorrt is not installed"
    assert library.unavailable("tensorrt_rtx") == "tensorrt_rtx is not installed"


@pytest.mark.parametrize("capturable", [True, False])
def test_tensorrt_rtx_is_asked_whether_it_can_be_captured(
    capturable: bool,  # noqa: FBT001
    bundle: Bundle,
) -> None:
    version = "1.7.1.116"
    # Its interfaces are those of TensorRT 11.
    machine = fake_gpu.Machine("11.4.0.106", capturable=capturable)
    machine.libraries.trt.__version__ = version
    keep_engines(bundle, engine_folder(), version, runtime="tensorrt_rtx")
    with pytest.raises(EngineError, match="TensorRT-RTX, not TensorRT"):
        tensorrt.load(bundle, "fp32", libraries=machine.libraries)
    backend = tensorrt_rtx.load(bundle, "fp32", libraries=machine.libraries)
    assert backend.name == "tensorrt-rtx"
    said = backend.describe()["cuda graphs"]
    assert said == ("one a model and slot" if capturable else
                    "none: the library can't capture the classifier")  # fmt: skip
    backend.close()
    assert machine.held == {"memory": 0, "objects": 0, "contexts": 0}


@pytest.mark.parametrize("allowed", [True, False])
def test_code_in_an_engine_runs_only_where_that_was_asked_for(
    allowed: bool,  # noqa: FBT001
    bundle: Bundle,
) -> None:
    machine = fake_gpu.Machine("10.3.0")
    settings = {"version_compatible": "yes"} if allowed else {}
    keep_engines(bundle, engine_folder(), "10.3.0", settings=settings)
    tensorrt.load(bundle, "fp32", libraries=machine.libraries).close()
    assert machine.host_code == [("engine_host_code_allowed", allowed)] * 2
