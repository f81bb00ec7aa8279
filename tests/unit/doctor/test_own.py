"""scanside's own: cache folder, bundle, OpenCV."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import toy
from engines import keep_engines
from scanside.bundle import DEFAULT_BUNDLE, open_bundle
from scanside.cachefolder import cache_folder, write_entry
from scanside.doctor.own import (
    bundle_finding,
    cache_finding,
    engines_finding,
    opencv_finding,
    python_finding,
)
from scanside.engines import engine_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from scanside.doctor.host import Host


def test_the_cache_folder_and_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    write_entry(cache_folder("graphs"), "key", b"x" * 400_000)
    held, folder = cache_finding()
    assert folder == tmp_path / "cache"
    assert held.state == "ok"
    assert "2 files, 0.4 MB" in held.found


def test_the_engines_that_are_kept_are_named_and_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    none = engines_finding(tmp_path / "cache")
    assert (none.state, none.found) == ("absent-by-design", f"none in {engine_folder()}")
    paths = keep_engines(toy.write(tmp_path / "toy"), engine_folder(), "10.3.0", gpu="Orin")
    held = engines_finding(tmp_path / "cache")
    assert held.state == "ok"
    for role, path in paths.items():
        assert (
            f"{path.stem[:12]}: {role} in fp32, tensorrt 10.3.0, for Orin (8.7), batches of 1 to 4"
        ) in held.found
    paths["segmenter"].write_bytes(b"?")
    cut = engines_finding(tmp_path / "cache")
    assert (cut.state, cut.remedy) == ("problem", "scanside build")
    assert f"{paths['segmenter']}: the plan is cut" in cut.found
    paths["segmenter"].parent.chmod(0o777)
    assert engines_finding(tmp_path / "cache").state == "problem"
    assert engines_finding(None).state == "absent-by-design"


def test_a_cache_folder_that_others_may_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("SCANSIDE_CACHE", str(shared))
    held, folder = cache_finding()
    assert folder is None
    assert held.state == "problem"
    assert "others may write to it" in held.found
    assert "SCANSIDE_CACHE" in held.remedy


def test_the_default_bundle_is_whole() -> None:
    held, error = bundle_finding()
    assert error is None
    assert held.state == "ok"
    assert open_bundle().label in held.found


def test_a_damaged_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    precision = open_bundle().manifest.default_precision
    model = bundle / open_bundle().manifest.models["classifier"][precision].file
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    model.write_bytes(content)
    monkeypatch.setattr("scanside.bundle.DEFAULT_BUNDLE", bundle)
    held, error = bundle_finding()
    assert error is not None
    assert held.state == "problem"
    assert f"$.models.classifier.{precision}.sha256" in held.found
    assert held.remedy == "pip install --force-reinstall --no-deps scanside"


def test_two_opencvs(machine: Callable[..., Host]) -> None:
    one = {"opencv-python-headless": "5.0.0"}
    assert opencv_finding(machine({}, versions=one)).state == "ok"
    held = opencv_finding(machine({}, versions={**one, "opencv-python": "4.13.0"}))
    assert held.state == "problem"
    assert held.remedy.endswith("&& pip install opencv-python-headless")


def test_the_interpreter(machine: Callable[..., Host]) -> None:
    held = python_finding(machine({}, python=(3, 10, 12), versions={"scanside": "0.1.0"}))
    assert held.found == "3.10.12 in /opt/venv (a virtual environment); scanside 0.1.0"
