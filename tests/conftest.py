"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import command
from documents import everything_checked
from scanside import Pipeline, open_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Done

# No deadline: a time limit would make a test fail on a slow machine. The same examples each time:
# the suite of an unchanged commit does not fail by chance; `make test-long` looks for new ones.
settings.register_profile("scanside", deadline=None, max_examples=60, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile("scanside")

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCANSIDE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _schemas_hold() -> Iterator[None]:
    """Whatever a test is about: JSON that scanside prints or writes keeps to its schema."""
    with everything_checked():
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real MRI: ``SCANSIDE_DATA``, else ``../shared/data``; absent: skipped."""
    root = Path(os.environ.get("SCANSIDE_DATA", _BESIDE))
    if not (root / "lgg").is_dir():
        pytest.skip(f"no real data at {root}: set SCANSIDE_DATA to a folder that holds lgg/")
    return root


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy bundle: models of a few nodes whose outputs can be foreseen. Not to be changed."""
    import toy

    path = tmp_path_factory.mktemp("toy") / "bundle"
    toy.write(path)
    return path


@pytest.fixture
def toy_pipeline(toy_path: Path) -> Iterator[Pipeline]:
    """The toy bundle's models on the CPU backend."""
    with Pipeline.open(open_bundle(toy_path), backend="cpu") as pipeline:
        yield pipeline


@pytest.fixture
def scanside(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command line: ``scanside("run", path)`` returns its code, stdout and stderr."""
    return command.caller(monkeypatch, capfd)
