"""Implicit INT8 in the builder: found through the entry point, on a fake of each version."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

import fake_tensorrt
from scanside import open_bundle
from scanside.cli.progress import progress
from scanside.enginematch import EngineKey
from scanside.errors import ExtraNotInstalledError, UsageError
from scanside_calibration.implicit import open_calibrator
from scanside_export.engine import implicit
from scanside_export.engine.compiler import compile_engine
from scanside_export.engine.declared import meant_int8
from scanside_export.engine.exchange import Built, Calibration, Request, Settings
from scanside_export.engine.implicit import GROUP, Implicit, provider
from scanside_export.engine.library import ChildError
from scanside_export.engine.process import Limits
from scanside_export.engine.run import Job, build_engines
from scanside_export.engine.timing import calibration_cache
from small import open_small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Done

COUNT = 3
OLD = ("8.6.1", "10.0.1", "10.3.0", "10.13.3.9", "10.16.1.11")


@contextmanager
def addresses(size: int) -> Iterator[Any]:
    """Give memory that knows a slice by its first value."""
    assert size == 256 * 256 * 3
    yield SimpleNamespace(upload=lambda image: int(image[0, 0, 0]))


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Built]:
    """Build an INT8 engine with ranges from `COUNT` slices."""
    images = np.zeros((COUNT, 256, 256, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(10, 10 + COUNT)
    np.save(tmp_path / "slices.npy", images)
    monkeypatch.setattr(
        implicit,
        "provider",
        lambda: SimpleNamespace(open_calibrator=lambda *words: open_calibrator(*words, addresses)),
    )

    def call(trt: Any) -> Built:
        for name in ("typed", "flagged"):
            (tmp_path / name).write_bytes(name.encode())
        files = {n: str(tmp_path / n) for n in ("typed", "flagged", "plan", "timing")}
        held = Calibration(images=str(tmp_path / "slices.npy"), cache=str(tmp_path / "ranges"))
        settings = Settings(target="trt", precision="int8", profile=(1, 2, 4))
        request = Request(settings=settings, calibration=held, **files)
        return compile_engine(trt, request, lambda _: None)

    return call


@pytest.mark.parametrize("version", OLD)
def test_ranges_come_from_the_slices_and_precisions_from_flags(
    version: str, build: Callable[..., Built], tmp_path: Path
) -> None:
    trt = fake_tensorrt.make(version)
    built = build(trt)
    assert trt.asked["slices"] == [10, 11, 12]
    assert trt.asked["calibration profile"] == {"image": ((1, 256, 256, 3),) * 3}
    assert trt.asked["flags"] == {"INT8", "FP16"}
    assert not built.strongly_typed
    assert (tmp_path / "plan").read_bytes() == b"PLANflagged"
    assert built.notes == (
        "ranges chosen by IInt8EntropyCalibrator2 from 3 slices (the legacy way)",
    )
    again = fake_tensorrt.make(version)
    assert "from the cache" in build(again).notes[0]
    assert again.asked["slices"] == []


@pytest.mark.parametrize("version", ["11.4.0.106", "rtx"])
def test_where_calibrators_are_gone_that_is_said(version: str, build: Callable[..., Built]) -> None:
    with pytest.raises(ChildError, match="gone since TensorRT 11") as caught:
        build(fake_tensorrt.make(version))
    assert "--implicit-int8" in caught.value.failed.remedy


def test_an_engine_of_a_part_of_the_slices_is_not_kept(
    build: Callable[..., Built], tmp_path: Path
) -> None:
    with pytest.raises(ChildError, match="took 2 of 3 slices"):
        build(fake_tensorrt.make("10.3.0", fail="calibrate"))
    assert not (tmp_path / "plan").exists()


def test_every_convolution_is_meant_to_be_int8() -> None:
    content = open_small().read_model("classifier", "fp32")
    assert meant_int8(content) == ()
    assert len(meant_int8(content, implicit=True)) == 53


def test_kept_ranges_are_of_a_model_and_its_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    key = EngineKey(
        model_sha256="a" * 64, runtime="tensorrt", runtime_version="8.6.1", gpu_name="Orin",
        compute_capability="8.7", precision="int8", profile=(1, 1, 1),
        settings={"calibration_images_sha256": "1" * 64},
    )  # fmt: skip
    file = tmp_path / "ranges"
    file.write_bytes(b"TRT-ranges")
    calibration_cache(key).take(file)
    file.unlink()
    for change in (
        {"model_sha256": "b" * 64},
        {"runtime_version": "10.3.0"},
        {"settings": {"calibration_images_sha256": "2" * 64}},
    ):
        calibration_cache(msgspec.structs.replace(key, **change)).give(file)
        assert not file.exists()
    calibration_cache(msgspec.structs.replace(key, gpu_name="Thor")).give(file)
    assert file.read_bytes() == b"TRT-ranges"


@pytest.mark.parametrize(("target", "precision"), [("rtx", "int8"), ("trt", "fp16")])
def test_it_is_for_tensorrt_and_int8(target: Any, precision: Any, toy_path: Path) -> None:
    settings = Settings(target=target, precision=precision, profile=(1, 1, 1))
    job = Job(
        folder=Path(), rebuild=False, limits=Limits(1), command="", say=lambda _: None,
        stage=progress, implicit=Implicit(Path("slices.npy"), {}),
    )  # fmt: skip
    with pytest.raises(UsageError, match="--implicit-int8"):
        build_engines(open_bundle(toy_path), settings, job)


def test_split_alone_makes_no_sense(toy_path: Path, scanside: Callable[..., Done]) -> None:
    done = scanside("build", toy_path, "--split", toy_path / "manifest.json")
    assert done.code == 2
    assert "--implicit-int8" in done.err


# The entry point


def test_without_a_package_that_calibrates_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    with pytest.raises(ExtraNotInstalledError, match=r"scanside\[calibrate\]"):
        provider()


def test_the_project_declares_it_and_it_has_both_functions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    ((name, value),) = project["project"]["entry-points"][GROUP].items()
    entry = EntryPoint(name, value, GROUP)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: (entry,) if group == GROUP else ()
    )
    assert callable(provider().prepare)
    assert callable(provider().open_calibrator)
