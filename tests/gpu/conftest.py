"""Tests that need an NVIDIA GPU, with no fakes: for whoever has one (``make gpu-check``).

Without a driver all of them are skipped, and a backend whose libraries are missing is skipped
with what it says itself.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from command import caller
from scanside import backends, open_bundle
from scanside.backends.nvidia import driver_missing
from scanside.golden import GoldenSlices, read_golden

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done
    from scanside.bundle import Bundle


@pytest.fixture(scope="session", autouse=True)
def _device() -> None:
    if (why := driver_missing()) is not None:
        pytest.skip(why)


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    """The bundle that ships."""
    return open_bundle()


@pytest.fixture(scope="session")
def golden(shipped: Bundle) -> GoldenSlices:
    return read_golden(shipped)


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of this session: engines are built once, and the user's are not touched."""
    return tmp_path_factory.mktemp("gpu-cache")


@pytest.fixture
def built(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Path:
    """The cache folder with engines of the bundle that ships, as `scanside build` makes them."""
    if find_spec("tensorrt") is None:
        pytest.skip("TensorRT is not installed")
    monkeypatch.setenv("SCANSIDE_CACHE", str(own_cache))
    if not list(own_cache.glob("engines/*.plan")):
        done: Done = caller(monkeypatch, capfd)("build")
        assert done.code == 0, done.err
    return own_cache


@pytest.fixture(params=list(backends.ON_GPU))
def backend(
    request: pytest.FixtureRequest, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Name of each backend on a GPU that can be used here, its engines built."""
    name = str(request.param)
    if (why := import_module(backends.ON_GPU[name]).unavailable()) is not None:
        pytest.skip(f"{name}: {why}")
    monkeypatch.setenv("SCANSIDE_CACHE", str(own_cache))
    if name == "tensorrt":
        request.getfixturevalue("built")
    return name


@pytest.fixture
def scanside(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command line, with the cache folder of this session."""
    return caller(monkeypatch, capfd)
