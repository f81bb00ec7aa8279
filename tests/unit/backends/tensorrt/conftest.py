"""A machine with a GPU: one in Python, or NVIDIA's bindings and PyCUDA on a fake driver.

``make gpulab`` runs the tests of this folder once more for each version of TensorRT that it has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fake_gpu
from engines import keep_engines
from scanside import backends, open_bundle
from scanside.backends import tensorrt
from scanside.engines import engine_folder
from scanside.golden import read_golden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.enginematch import Runtime

_TABLES = os.environ.get("SCANSIDE_GPULAB_TABLES", "")
NATIVE = bool(_TABLES)
VERSIONS = [Path(_TABLES).stem] if NATIVE else ["8.6.1", "10.3.0", "11.4.0.106"]
RUNTIME: Runtime = "tensorrt_rtx" if VERSIONS[0].startswith("1.") else "tensorrt"


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A version of TensorRT."""
    return str(request.param)


@pytest.fixture
def make_machine(version: str) -> Callable[..., Any]:
    """Make a machine, with the options of `fake_gpu.Machine`."""

    def make(**options: Any) -> Any:
        if not NATIVE:
            return fake_gpu.Machine(version, **options)
        import native

        return native.Machine(version, **options)

    return make


@pytest.fixture
def machine(make_machine: Callable[..., Any]) -> Iterator[Any]:
    """A machine on which everything that was allocated has to be freed at the end."""
    made = make_machine()
    before = made.held
    yield made
    assert made.defects == []
    assert made.held == before


@pytest.fixture
def doomed(make_machine: Callable[..., Any]) -> Any:
    """A machine whose device will be lost: what is on it then can't be freed."""
    return make_machine()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bundle(toy_path: Path) -> Bundle:
    return open_bundle(toy_path)


@pytest.fixture
def built(bundle: Bundle, version: str) -> Bundle:
    """The toy bundle, with its engines in the cache."""
    keep_engines(bundle, engine_folder(), version, runtime=RUNTIME)
    return bundle


@pytest.fixture
def load(built: Bundle, machine: Any) -> Iterator[Callable[..., Backend]]:
    """Load the backend; it is closed at the end."""
    loaded: list[Backend] = []

    def call(**options: Any) -> Backend:
        options = {"libraries": machine.libraries, "lanes": 1, "runtime": RUNTIME} | options
        loaded.append(tensorrt.load(built, "fp32", **options))
        return loaded[-1]

    yield call
    for backend in loaded:
        backend.close()


@pytest.fixture
def cpu(bundle: Bundle) -> Iterator[Backend]:
    backend = backends.load("cpu", bundle, "fp32").backend
    yield backend
    backend.close()


@pytest.fixture
def images(bundle: Bundle) -> NDArray[np.uint8]:
    """Six slices: with and without a lesion in turn."""
    return read_golden(bundle).images
