"""A node, an Orthanc and studies in one folder; everything on loopback, nothing kept running."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import msgspec

from scanside.listen.status import read_status
from scanside.listen.store import read_only

__all__ = [
    "MADE_UP",
    "NodeProcess",
    "Orthanc",
    "free_port",
    "make_studies",
    "rss_and_descriptors",
    "wait_idle",
]

MADE_UP: Final = "null"
"""The backend that computes nothing."""

_PATIENCE: Final = 300.0
"""Seconds for a process to start or to end, on a computer that may be busy."""

_CONFIG: Final = """
[node]
ae_title = "SCANSIDE"
port = {port}
[[peers]]
ae_title = "SCANNER"
addresses = ["127.0.0.0/8"]
{destinations}
[spool]
folder = "spool"
min_free_gb = 0.5
[limits]
associations = 16
associations_per_address = 8
{limits}
[study]
quiet_seconds = {quiet}
deadline_seconds = 3600
[retry]
first_seconds = 0.5
longest_seconds = 2
[purge]
keep_hours = {keep_hours}
[monitoring]
port = {monitoring}
[models]
backend = "{backend}"
"""

_PACS: Final = """
[[destinations]]
name = "pacs"
ae_title = "ORTHANC"
address = "127.0.0.1"
port = {port}
"""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_studies(folder: Path, studies: int, slices: int) -> list[Path]:
    """Make studies of phantoms as DICOM files, a folder a study; those that are there are kept."""
    dicom = folder / "dicom"
    if not dicom.is_dir():
        command = [sys.executable, "-m", "scanside", "data"]
        shutil.rmtree(folder / "phantoms", ignore_errors=True)
        subprocess.run(
            [*command, "phantom", folder / "phantoms", "--patients", str(studies),
             "--slices", str(slices), "--seed", "7"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        subprocess.run(
            [*command, "to-dicom", folder / "phantoms", "--output", dicom],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return sorted(path for path in dicom.iterdir() if path.is_dir())


class NodeProcess:
    """``scanside listen`` in a process.

    Parameters
    ----------
    folder
        Where its configuration and spool are.
    pacs
        Port of the destination; none without one.
    backend
        `MADE_UP` or a real one.
    quiet
        Seconds before a study is looked at.
    limits
        More TOML of ``[limits]``.
    keep_hours
        After which what is finished is deleted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pacs: int | None,
        backend: str = "auto",
        quiet: float = 2.0,
        limits: str = "",
        keep_hours: float = 72.0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Final = folder
        self.port: Final = free_port()
        self.monitoring: Final = free_port()
        self.config: Final = folder / "node.toml"
        self.config.write_text(
            _CONFIG.format(
                port=self.port,
                monitoring=self.monitoring,
                quiet=quiet,
                backend="auto" if backend == MADE_UP else backend,
                limits=limits,
                keep_hours=keep_hours,
                destinations="" if pacs is None else _PACS.format(port=pacs),
            )
        )
        self._more: Final = ["--made-up-results"] if backend == MADE_UP else []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = _PATIENCE) -> None:
        """Start it, and wait until its port is open."""
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scanside", "listen", "--config", self.config, *self._more],
                stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "node.log").read_text()[-2000:])
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> int:
        """Let it drain; return its exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        return self.process.wait(_PATIENCE)

    def wait_idle(self, seconds: float) -> dict[str, Any]:
        """Wait until nothing is left to do; return its state."""
        return wait_idle(self.folder / "spool", seconds)


def wait_idle(spool: Path, seconds: float) -> dict[str, Any]:
    """Wait until the node of a spool has nothing left to do; return its state.

    The spool is read here rather than by the command, whose start would take from the node what is
    measured.
    """
    end = time.monotonic() + seconds
    with read_only(spool) as read:
        while not (found := read_status(read)).idle:
            if time.monotonic() > end:
                raise RuntimeError(f"not idle after {seconds} s: {found}")
            time.sleep(0.2)
    state: dict[str, Any] = msgspec.to_builtins(found)
    return state


class Orthanc:
    """An Orthanc that keeps what it gets in a folder.

    Parameters
    ----------
    folder
        Where it keeps it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port: Final = free_port()
        self._http: Final = free_port()
        self._config: Final = folder / "orthanc.json"
        self._log: Final = folder / "orthanc.log"
        self._config.write_text(
            json.dumps(
                {
                    "Name": "campaign",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "DicomAet": "ORTHANC",
                    "DicomPort": self.port,
                    "HttpPort": self._http,
                    "HttpBindAddresses": ["127.0.0.1"],
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomAlwaysAllowStore": True,
                    "DicomCheckCalledAet": False,
                    "OverwriteInstances": False,
                    "Plugins": [],
                }
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        """Return the program; none where Orthanc is not installed."""
        return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = self.program()
        if program is None:
            raise RuntimeError("Orthanc is not installed: apt-get install orthanc")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([program, self._config], stdout=log, stderr=log)
        end = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.get("/system")
                return
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(self._log.read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE)
            self._process = None

    def get(self, path: str) -> Any:
        """Return a resource of its REST interface, decoded if it is JSON."""
        url = f"http://127.0.0.1:{self._http}{path}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            content = answer.read()
            return json.loads(content) if "json" in answer.headers["Content-Type"] else content


def rss_and_descriptors(process: int) -> tuple[float, int]:
    """Return a process's resident memory in MB and its number of open file descriptors."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(
        list(Path(f"/proc/{process}/fd").iterdir())
    )
