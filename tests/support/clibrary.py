"""The C library, built as the tests need it: plain, or with a sanitizer."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "runtime" / "c"
SUPPORT = Path(__file__).resolve().parent

SANITIZERS = {"plain": "", "asan": "address,undefined", "tsan": "thread"}
"""What `make SANITIZE=` is given, by the name of the build."""

COMPILER = "gcc" if shutil.which("gcc") else "cc"
"""What builds where a test does not say; one name, so that nothing is built twice."""


def tool(name: str) -> str:
    """The path of a program, without which the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*words: object, timeout: float = 120, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, its output as text."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [str(word) for word in words], capture_output=True, text=True, timeout=timeout,
        check=False, **more,
    )  # fmt: skip


@functools.cache
def folder(kind: str, compiler: str) -> Path:
    """Where a build's files are, for as long as the tests run."""
    made = tempfile.mkdtemp(prefix=f"scanside-c-{kind}-{compiler}-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@functools.cache
def build(target: str, kind: str = "plain", compiler: str = COMPILER) -> Path:
    """Build a target of ``runtime/c/Makefile`` and return its path.

    Parameters
    ----------
    target
        Its file's name.
    kind
        A key of `SANITIZERS`.
    compiler
        The C compiler; its C++ compiler is the one beside it.
    """
    make = tool("make")
    tool(compiler)
    sanitize = SANITIZERS[kind]
    if sanitize and not _links(compiler, sanitize):
        pytest.skip(f"{compiler} has no runtime for -fsanitize={sanitize}")
    out = folder(kind, compiler)
    cxx = {"cc": "c++", "gcc": "g++", "clang": "clang++"}[compiler]
    variables = {
        "BUILD": out, "CC": compiler, "CXX": cxx, "SANITIZE": sanitize, "WERROR": "-Werror",
        "CFLAGS": "-O1 -g", "CXXFLAGS": "-O1 -g",
    }  # fmt: skip
    given = [f"{name}={value}" for name, value in variables.items()]
    done = run(make, "-j2", "-C", SOURCE, *given, out / target, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / target


@functools.cache
def _links(compiler: str, sanitize: str) -> bool:
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary, "empty.c")
        source.write_text("int main(void) { return 0; }\n")
        out = Path(temporary, "empty")
        done = run(compiler, f"-fsanitize={sanitize}", source, "-o", out)
        return done.returncode == 0 and run(out).returncode == 0


def write_script(path: Path, program: str) -> Path:
    """Write an executable that runs a Python program with the arguments it is given."""
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {program} "$@"\n')
    path.chmod(0o700)
    return path


def fake_server(at: Path) -> Path:
    """Write the executable of the server that misbehaves on demand."""
    return write_script(at / "fake-scanside", f'-I -S "{SUPPORT / "fake_server.py"}"')


def real_server(at: Path) -> Path:
    """Write the executable of scanside itself, of these sources."""
    package = os.pathsep.join(path for path in sys.path if path)
    script = at / "scanside"
    script.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{package}"\nexec "{sys.executable}" -m scanside "$@"\n'
    )
    script.chmod(0o700)
    return script


def kill_the_host(server: Path, *arguments: object) -> None:
    """Kill a host, and see that its server ends."""
    program = build("scenarios")
    words = [str(word) for word in (program, "is_killed", server, *arguments)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        child = int(host.stdout.readline())
        assert _runs(child)
        host.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Tell whether a process runs, rather than being gone or waiting to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
