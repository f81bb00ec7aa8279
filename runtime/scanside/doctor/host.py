"""The one seam between doctor and the machine: what it reads, runs and asks, all exchangeable."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.doctor.probe import Probe, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = ["Host", "Interpreter", "located", "run_tool"]

_TOOL_SECONDS: Final = 10.0
"""`nvidia-smi` takes some seconds where the driver has to be started first."""


class Interpreter(NamedTuple):
    """The Python that runs scanside.

    Attributes
    ----------
    version
        Major, minor, micro.
    prefix
        Where it is; of a virtual environment its folder.
    virtual
        Whether it is a virtual environment.
    """

    version: tuple[int, int, int]
    prefix: Path
    virtual: bool

    @property
    def short(self) -> str:
        """For instance ``3.10``."""
        return f"{self.version[0]}.{self.version[1]}"


def run_tool(words: tuple[str, ...]) -> str:
    """Run a program; return what it prints, empty where it is absent, fails or hangs."""
    try:
        done = subprocess.run(  # noqa: S603 - the words are constants
            words, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def located(package: str) -> bool:
    """Return whether a package can be found by import; imports nothing."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def distribution(name: str) -> str | None:
    """Return the version of an installed distribution; none where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _interpreter() -> Interpreter:
    major, minor, micro = sys.version_info[:3]
    return Interpreter((major, minor, micro), Path(sys.prefix), sys.prefix != sys.base_prefix)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine as doctor sees it; by default this one.

    Attributes
    ----------
    root
        Root of the file system.
    run
        Runs a program and returns what it prints, empty if that fails.
    probe
        Imports a library, or tries a backend, in a process of its own.
    version
        Version of an installed distribution, none if there is none.
    located
        Whether a package would be found by import.
    environment
        The environment's variables.
    cpus
        Logical processors that this process may run on; none for its affinity.
    architecture
        As `platform.machine` says it.
    python
        The interpreter.
    free_bytes
        Free bytes of the file system that a path is on.
    """

    root: Path = Path("/")
    run: Callable[[tuple[str, ...]], str] = run_tool
    probe: Callable[[str], Probe] = probe
    version: Callable[[str], str | None] = distribution
    located: Callable[[str], bool] = located
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    cpus: Collection[int] | None = None
    architecture: str = field(default_factory=platform.machine)
    python: Interpreter = field(default_factory=_interpreter)
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
