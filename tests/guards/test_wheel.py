"""What the wheel holds: the four packages, the default bundle, and nothing of the work tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"scanside", "scanside_training", "scanside_export", "scanside_calibration"}
LIMIT = 40_000_000
"""Bytes: the default bundle is below 30 MB, the code is some hundred kB."""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.compress_size for entry in archive.infolist()}


def test_only_the_packages_are_in_it(names: dict[str, int]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_default_bundle_the_types_and_the_licence_are_in_it(names: dict[str, int]) -> None:
    assert "scanside/bundles/lgg/manifest.json" in names
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_nothing_else_is_in_it(names: dict[str, int]) -> None:
    allowed = (".py", "py.typed", ".toml", ".onnx", ".json", ".npz", ".md", ".txt")
    odd = [n for n in names if ".dist-info/" not in n and not n.endswith(allowed)]
    assert odd == []
    assert sum(names.values()) < LIMIT
