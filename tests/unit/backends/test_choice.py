from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside import backends, open_bundle
from scanside.backends import choice
from scanside.backends.choice import choose, faster, installed, measure
from scanside.backends.processor import processor
from scanside.errors import BackendError, ExtraNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.bundle import Bundle

NAMES = ["cpu", "openvino"]
IMAGES = np.zeros((2, 256, 256, 3), np.uint8)


class Clock:
    """A clock that goes on only when a stub computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Stub:
    """A backend that takes the seconds it is told, and may fail at a call."""

    precision = "fp32"
    lanes = 1
    micro_batch = 1

    def __init__(self, name: str, clock: Clock, seconds: float, fails_at: int = -1) -> None:
        self.name, self.clock, self.seconds, self.fails_at = name, clock, seconds, fails_at
        self.calls = 0
        self.closed = False

    def classify(self, images: np.ndarray) -> np.ndarray:
        if self.calls == self.fails_at:
            raise BackendError("the device is gone")
        self.calls += 1
        self.clock.now += self.seconds / 2
        return np.zeros((len(images), 1), np.float32)

    def segment(self, images: np.ndarray) -> np.ndarray:
        self.clock.now += self.seconds / 2
        return np.zeros((len(images), 256, 256), np.float32)

    def describe(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bundle(toy_path: Path) -> Bundle:
    return open_bundle(toy_path)


class Shop:
    """Loads stubs and remembers which; what costs None can't be loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float | None) -> None:
        self.clock = Clock()
        self.seconds = seconds
        self.made: dict[str, Stub] = {}
        self.measured = 0

        def counted(*args: Any, **given: Any) -> dict[str, float]:
            self.measured += 1
            return measure(*args, clock=self.clock, **given)

        monkeypatch.setattr(choice, "measure", counted)

    def __call__(self, name: str) -> Stub:
        seconds = self.seconds[name]
        if seconds is None:
            raise BackendError("it is broken")
        self.made[name] = Stub(name, self.clock, seconds)
        return self.made[name]


@pytest.mark.parametrize(("openvino", "wanted"), [(0.5, "openvino"), (2.0, "cpu"), (0.97, "cpu")])
def test_the_faster_is_taken_and_the_reason_said(
    openvino: float, wanted: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(monkeypatch, cpu=0.010, openvino=0.010 * openvino)
    found = choose(bundle, "fp32", NAMES, shop)
    assert found.backend.name == wanted
    assert found.passed_over == {}
    assert found.reason is not None
    assert "cpu" in found.reason
    assert "10.0 ms" in found.reason
    assert f"{10 * openvino:.1f} ms" in found.reason
    assert found.reason.startswith(wanted)
    assert ("starts sooner" in found.reason) == (openvino == 0.97)
    assert {name: stub.closed for name, stub in shop.made.items()} == {
        name: name != wanted for name in NAMES
    }


def test_a_measurement_is_kept_and_only_the_faster_loaded(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(bundle, "fp32", NAMES, Shop(monkeypatch, cpu=0.01, openvino=0.005))
    later = Shop(monkeypatch, cpu=0.01, openvino=99.0)
    found = choose(bundle, "fp32", NAMES, later)
    assert found.backend.name == "openvino"
    assert found.reason == "openvino takes 5.0 ms a slice, cpu 10.0 ms: measured earlier"
    assert list(later.made) == ["openvino"]
    assert later.measured == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda b, _: b._replace(manifest_sha256="0" * 64),
        lambda b, m: m.setattr(choice, "processor", lambda: "another") or b,
        lambda b, m: m.setattr(choice, "usable_cores", lambda: 977) or b,
        lambda b, m: m.setattr(choice, "_version", lambda package: f"{package} 99") or b,
    ],
    ids=["manifest", "processor", "cores", "versions"],
)
def test_a_measurement_of_something_else_does_not_count(
    change: Callable[..., Bundle], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(bundle, "fp32", NAMES, Shop(monkeypatch, cpu=0.01, openvino=0.005))
    again = Shop(monkeypatch, cpu=0.005, openvino=0.01)
    found = choose(change(bundle, monkeypatch), "fp32", NAMES, again)
    assert again.measured == 1
    assert found.backend.name == "cpu"


def test_precision_and_streaming_are_measured_by_themselves(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(monkeypatch, cpu=0.01, openvino=0.005)
    choose(bundle, "fp32", NAMES, shop)
    choose(bundle, "int8", NAMES, shop)
    choose(bundle, "fp32", NAMES, shop, streaming=True)
    assert shop.measured == 3
    choose(bundle, "fp32", NAMES, shop, streaming=True)
    assert shop.measured == 3


def test_for_a_single_slice_the_one_that_starts_soonest_is_taken_unmeasured(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(monkeypatch, cpu=0.01, openvino=0.005)
    found = choose(bundle, "fp32", NAMES, shop, once=True)
    assert shop.measured == 0
    assert found.backend.name == "cpu"
    assert found.reason == "cpu starts soonest, and one slice is all"
    assert choose(bundle, "fp32", NAMES, shop).backend.name == "openvino"
    assert choose(bundle, "fp32", NAMES, shop, once=True).backend.name == "cpu"


def test_for_a_single_slice_the_next_one_stands_in_for_one_that_fails(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(monkeypatch, cpu=None, openvino=0.005)
    found = choose(bundle, "fp32", NAMES, shop, once=True)
    assert found.backend.name == "openvino"
    assert found.passed_over == {"cpu": "it is broken"}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"cpu": 1}', b'{"cpu": 1, "openvino": "x"}'])
def test_a_kept_measurement_of_another_form_is_made_again(
    content: bytes, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(monkeypatch, cpu=0.01, openvino=0.005)
    monkeypatch.setattr(choice, "read_entry", lambda *_: content)
    assert choose(bundle, "fp32", NAMES, shop).backend.name == "openvino"
    assert shop.measured == 1


def test_without_a_cache_folder_it_measures_each_time(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "cache_folder", lambda *_: None)
    shop = Shop(monkeypatch, cpu=0.01, openvino=0.005)
    for _ in range(2):
        assert choose(bundle, "fp32", NAMES, shop).backend.name == "openvino"
    assert shop.measured == 2


def test_one_that_cannot_be_loaded_is_passed_over_and_said(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(monkeypatch, cpu=0.01, openvino=None)
    found = choose(bundle, "fp32", NAMES, shop)
    assert found.backend.name == "cpu"
    assert not shop.made["cpu"].closed
    assert found.reason is None
    assert found.passed_over == {"openvino": "it is broken"}
    # Nothing was compared, so nothing is kept: once it works, it is measured.
    repaired = Shop(monkeypatch, cpu=0.01, openvino=0.005)
    assert choose(bundle, "fp32", NAMES, repaired).backend.name == "openvino"


def test_the_kept_faster_one_that_is_broken_is_passed_over_and_said(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(bundle, "fp32", NAMES, Shop(monkeypatch, cpu=0.01, openvino=0.005))
    found = choose(bundle, "fp32", NAMES, Shop(monkeypatch, cpu=0.01, openvino=None))
    assert found.backend.name == "cpu"
    assert found.reason is None
    assert found.passed_over == {"openvino": "it is broken"}


def test_where_none_can_be_loaded_every_reason_is_said(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="cpu: it is broken; openvino: it is broken"):
        choose(bundle, "fp32", NAMES, Shop(monkeypatch, cpu=None, openvino=None))
    choose(bundle, "fp32", NAMES, Shop(monkeypatch, cpu=0.01, openvino=0.005))
    with pytest.raises(BackendError, match="openvino: it is broken; cpu: it is broken"):
        choose(bundle, "fp32", NAMES, Shop(monkeypatch, cpu=None, openvino=None))


@pytest.mark.parametrize("fails_at", [0, 1, 5])
def test_one_that_fails_while_it_is_measured_is_passed_over(fails_at: int) -> None:
    clock = Clock()
    stubs = {
        "cpu": Stub("cpu", clock, 0.01),
        "openvino": Stub("openvino", clock, 0.001, fails_at=fails_at),
    }
    passed_over: dict[str, str] = {}
    assert list(measure(stubs, IMAGES, passed_over, clock)) == ["cpu"]
    assert passed_over == {"openvino": "the device is gone"}


@given(cpu=st.floats(1e-4, 2.0), openvino=st.floats(1e-4, 2.0))
def test_measuring_takes_turns_finds_the_time_and_is_bounded(cpu: float, openvino: float) -> None:
    clock = Clock()
    stubs = {"cpu": Stub("cpu", clock, cpu), "openvino": Stub("openvino", clock, openvino)}
    took = measure(stubs, IMAGES, {}, clock)
    assert took == {
        "cpu": pytest.approx(cpu * 1e3), "openvino": pytest.approx(openvino * 1e3),
    }  # fmt: skip
    assert stubs["cpu"].calls == stubs["openvino"].calls >= 4
    assert clock.now <= 1.0 + (cpu + openvino) * 4


def test_every_lane_is_at_work() -> None:
    clock = Clock()
    stubs = {"cpu": Stub("cpu", clock, 0.1), "openvino": Stub("openvino", clock, 0.1)}
    stubs["cpu"].lanes = 3
    measure(stubs, IMAGES, {}, clock)
    assert stubs["cpu"].calls == 3 * stubs["openvino"].calls


def test_a_stream_is_measured_as_it_runs() -> None:
    """Four slices in one classification: the time of the calls, by slice."""
    clock = Clock()
    stubs = {"cpu": Stub("cpu", clock, 0.1), "openvino": Stub("openvino", clock, 0.1)}
    stubs["cpu"].micro_batch = 4
    took = measure(stubs, IMAGES, {}, clock, streaming=True)
    assert took == {
        "cpu": pytest.approx((0.05 + 4 * 0.05) / 4 * 1e3), "openvino": pytest.approx(100)
    }  # fmt: skip
    assert measure(stubs, IMAGES, {}, clock)["cpu"] == pytest.approx(100)


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(1e-3, 1e3), min_size=1))
def test_the_choice_is_at_most_a_twentieth_off_the_fastest(took: dict[str, float]) -> None:
    assert took[faster(took)] * 0.95 <= min(took.values())


def test_with_one_installed_nothing_is_measured(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: name == "onnxruntime" or None)
    loaded = backends.load("auto", bundle)
    assert loaded.backend.name == "cpu"
    assert loaded.reason is None
    assert "openvino" not in (loaded.fallback or "")
    assert not (tmp_path / "cache" / "choices").exists()


def test_with_none_installed_the_error_says_what_to_install(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraNotInstalledError, match=r"pip install 'scanside\[cpu\]'"):
        backends.load("auto", bundle)


def test_asking_what_is_installed_imports_nothing() -> None:
    code = """
import sys
from scanside.backends.choice import installed
installed(["cpu", "openvino"])
print(sorted({"openvino", "onnxruntime"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_installed_is_found() -> None:
    assert installed(["cpu"]) == ["cpu"]
    assert ("openvino" in installed(NAMES)) == (find_spec("openvino") is not None)


def test_the_processor_is_named_and_does_not_change() -> None:
    assert processor() == processor()
    processor.cache_clear()
    assert len(processor().split()[-1]) == 16


def test_auto_measures_the_real_backends(bundle: Bundle) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: nothing to choose between")
    first = backends.load("auto", bundle)
    assert first.reason is not None
    assert first.reason.endswith(("measured now", "sooner)"))
    second = backends.load("auto", bundle)
    assert second.backend.name == first.backend.name
    assert second.reason is not None
    assert "measured earlier" in second.reason
