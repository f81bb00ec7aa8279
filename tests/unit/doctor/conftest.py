"""A machine that has just what a test says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devices import GIB, tree
from scanside.doctor.host import Host, Interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scanside.doctor.probe import Probe


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Host]:
    """``machine(files, probes=..., versions=..., tools=...)`` is a `Host` of just that.

    What is in `probes` can be found by import; asking for another one is an error of the test.
    """

    def make(
        files: Mapping[str, str],
        *,
        probes: Mapping[str, Probe] | None = None,
        versions: Mapping[str, str] | None = None,
        tools: Mapping[str, str] | None = None,
        python: tuple[int, int, int] = (3, 11, 7),
        environment: Mapping[str, str] | None = None,
        free: int = 50 * GIB,
    ) -> Host:
        root = tree(tmp_path / "root", files)
        arm = "aarch64" if "proc/device-tree/model" in files else "x86_64"
        probed, said = dict(probes or {}), dict(tools or {})
        return Host(
            root=root,
            run=lambda words: said.get(words[0], ""),
            probe=lambda what: probed[what],
            version=dict(versions or {}).get,
            located=lambda package: package in probed,
            environment={"ORT_DISABLE_TELEMETRY": "1"} if environment is None else environment,
            cpus={0, 1},
            architecture=arm,
            python=Interpreter(python, Path("/opt/venv"), virtual=True),
            free_bytes=lambda _: free,
        )

    return make
