"""Programs that nobody here wrote, and that judge what is written; absent ones skip their tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_DCMQI = Path(__file__).parents[2] / ".venv-dcmqi" / "bin"

PATIENCE = 60
"""Seconds for one program."""


def program(name: str, package: str) -> str:
    """The path of a program; skips where it is not installed."""
    # The system's first: pynetdicom has a storescu of its own, in the environment.
    places = os.pathsep.join(["/usr/bin", "/usr/sbin", os.environ["PATH"]])
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def dcmqi(name: str) -> str:
    """The path of a program of dcmqi: in the folder ``SCANSIDE_DCMQI``, in what ``make dcmqi``
    sets up, or on the path; skips without it."""
    folders = [os.environ.get("SCANSIDE_DCMQI", ""), str(_DCMQI), os.environ["PATH"]]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"{name} is not installed: make dcmqi, or pip install dcmqi on the path")
    return found


def run(*words: str | Path, check: bool = True) -> str:
    """What a program prints, on both streams."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=PATIENCE,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


def dciodvfy_errors(file: Path) -> list[str]:
    """What dciodvfy calls an error in a file; it must have recognised the kind of object."""
    said = run(program("dciodvfy", "dicom3tools"), "-new", file, check=False).splitlines()
    assert any(line in ("EnhancedSR", "Segmentation", "SCImage") for line in said), said
    return [line for line in said if line.startswith("Error")]


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def orthanc(folder: Path) -> Iterator[tuple[int, int]]:
    """Run Orthanc with its storage in a folder; gives its DICOM and HTTP ports."""
    import json

    binary = program("Orthanc", "orthanc")
    dicom, http = free_port(), free_port()
    configuration = folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "Name": "judge",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "DicomAet": "ORTHANC",
                "DicomPort": dicom,
                "HttpPort": http,
                "HttpBindAddresses": ["127.0.0.1"],
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomCheckCalledAet": False,
                "Plugins": [],
            }
        )
    )
    with (
        (folder / "orthanc.log").open("wb") as log,
        subprocess.Popen([binary, str(configuration)], stdout=log, stderr=log) as process,
    ):
        try:
            _await(http, process)
            yield dicom, http
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, "Orthanc has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("Orthanc does not listen")
