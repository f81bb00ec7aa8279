"""The legacy calibrator: the slices that it takes, and that no failure passes for their end."""

from __future__ import annotations

import hashlib
import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fake_tensorrt
import labelled
import toy
from scanside import open_bundle
from scanside.bundle import write_bundle
from scanside.errors import BackendError, ExtraNotInstalledError, InputError, UsageError
from scanside.evaluation.dataset import index_dataset
from scanside_calibration import material
from scanside_calibration.implicit import open_calibrator, prepare
from scanside_calibration.material import SLICES, gather_ranges
from scanside_calibration.parts import divide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scanside.bundle import Bundle

COUNT = 5


class Memory:
    """Host memory in the place of the device's; address n is the n-th slice."""

    def __init__(self, fails_at: int = -1) -> None:
        self.seen: list[np.ndarray] = []
        self.fails_at = fails_at

    def upload(self, image: np.ndarray) -> int:
        if len(self.seen) == self.fails_at:
            raise MemoryError("cuMemcpyHtoD failed")
        self.seen.append(image.copy())
        return len(self.seen)

    @contextmanager
    def of(self, size: int) -> Iterator[Memory]:
        assert size == 256 * 256 * 3
        yield self


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    np.save(tmp_path / "slices.npy", rng.integers(0, 256, (COUNT, 256, 256, 3), np.uint8))
    return tmp_path / "slices.npy"


@pytest.fixture(params=["8.6.1", "10.3.0"])
def trt(request: pytest.FixtureRequest) -> Any:
    return fake_tensorrt.make(request.param)


def test_every_slice_is_given_once_in_order(trt: Any, images: Path, tmp_path: Path) -> None:
    memory = Memory()
    with open_calibrator(trt, images, tmp_path / "cache", memory.of) as (calibrator, finish):
        assert isinstance(calibrator, trt.IInt8EntropyCalibrator2)
        assert calibrator.read_calibration_cache() is None
        given = [calibrator.get_batch(["image"]) for _ in range(COUNT + 2)]
        calibrator.write_calibration_cache(memoryview(b"ranges"))
        assert finish() == f"ranges chosen by IInt8EntropyCalibrator2 from {COUNT} slices"
    assert given == [[n + 1] for n in range(COUNT)] + [None, None]
    np.testing.assert_array_equal(np.stack(memory.seen), np.load(images))
    assert (tmp_path / "cache").read_bytes() == b"ranges"


def test_kept_ranges_are_taken_and_said(trt: Any, images: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"ranges")
    with open_calibrator(trt, images, tmp_path / "cache", Memory().of) as (calibrator, finish):
        assert calibrator.read_calibration_cache() == b"ranges"
        assert "from the cache" in finish()


@pytest.mark.parametrize("taken", [0, 1, COUNT - 1])
def test_ranges_of_a_part_of_the_slices_are_refused(
    taken: int, trt: Any, images: Path, tmp_path: Path
) -> None:
    with open_calibrator(trt, images, tmp_path / "cache", Memory().of) as (calibrator, finish):
        for _ in range(taken):
            calibrator.get_batch(["image"])
        with pytest.raises(BackendError, match=f"took {taken} of {COUNT} slices"):
            finish()


@pytest.mark.parametrize(
    ("memory", "names", "said"),
    [(Memory(2), ["image"], "MemoryError: cuMemcpyHtoD"), (Memory(), ["other"], r"\['other'\]")],
)
def test_a_failure_reaches_the_builder_as_the_end_and_us_as_an_error(
    memory: Memory, names: list[str], said: str, trt: Any, images: Path, tmp_path: Path
) -> None:
    with open_calibrator(trt, images, tmp_path / "cache", memory.of) as (calibrator, finish):
        while calibrator.get_batch(names) is not None:
            pass
        with pytest.raises(BackendError, match=said) as caught:
            finish()
    assert "--implicit-int8" in caught.value.remedy


def test_pycuda_is_asked_for_by_name(
    trt: Any, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with (
        pytest.raises(ExtraNotInstalledError, match=r"scanside\[jetson\]"),
        open_calibrator(trt, images, tmp_path / "cache"),
    ):
        pass


def test_the_context_is_put_back_and_memory_freed(
    trt: Any, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    context = SimpleNamespace(push=lambda: calls.append("push"), pop=lambda: calls.append("pop"))

    class Allocation(int):
        def free(self) -> None:
            calls.append("free")

    driver = SimpleNamespace(
        init=lambda: calls.append("init"),
        Device=lambda _: SimpleNamespace(retain_primary_context=lambda: context),
        mem_alloc=Allocation,
        memcpy_htod=lambda _, image: calls.append(f"copy {image.nbytes}"),
    )
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    with open_calibrator(trt, images, tmp_path / "cache") as (calibrator, _):
        assert calibrator.get_batch(["image"]) == [256 * 256 * 3]
    assert calls == ["init", "push", f"copy {256 * 256 * 3}", "free", "pop"]


# The slices


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> labelled.Labelled:
    return labelled.write(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """The toy bundle, as if it held INT8 as well."""
    return write_bundle(tmp_path / "both", *toy.with_int8(*toy.parts()))


def quiet(total: int, unit: str) -> nullcontext[Callable[[int], None]]:
    assert total > 0
    assert unit
    return nullcontext(lambda _: None)


def test_they_are_those_of_scanside_calibrate(
    bundle: Bundle, data: labelled.Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(material, "refuse_artificial", lambda *_: None)
    dataset = index_dataset(data.folder)
    file = tmp_path / "slices.npy"
    said: list[str] = []
    facts = prepare(bundle, dataset, data.split, file, stage=quiet, say=said.append)
    parts = divide(dataset, data.split, 0)
    wanted = gather_ranges(dataset, parts, count=SLICES, seed=0, stage=quiet)
    written = np.load(file)
    assert hashlib.sha256(written.tobytes()).hexdigest() == wanted.images_sha256
    assert said == [
        "the bundle's INT8 models were calibrated with other slices"
        f" (000000000000, not {wanted.images_sha256[:12]})"
    ]
    assert facts == {
        "calibration_images_sha256": wanted.images_sha256,
        "calibration_slices": str(len(written)),
        "calibration_patients": str(len(wanted.patients)),
        "calibration_split_sha256": hashlib.sha256(data.split.read_bytes()).hexdigest(),
    }


def test_drawings_are_refused(bundle: Bundle, data: labelled.Labelled, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not accepted"):
        prepare(
            bundle, index_dataset(data.folder), data.split, tmp_path / "slices.npy",
            stage=quiet, say=lambda _: None,
        )  # fmt: skip


def test_a_bundle_without_int8_has_nothing_to_verify_the_engine_by(
    toy_path: Path, data: labelled.Labelled, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="holds no int8"):
        prepare(
            open_bundle(toy_path), index_dataset(data.folder), data.split, tmp_path / "slices.npy",
            stage=quiet, say=lambda _: None,
        )  # fmt: skip
