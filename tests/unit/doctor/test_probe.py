"""A library that fails, crashes or hangs is told, and ends nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from scanside.doctor.probe import Probe, probe, read_answer

if TYPE_CHECKING:
    from pathlib import Path

CRASHES = "import os, signal; print('noise', flush=True); os.kill(os.getpid(), signal.SIG{})"


def library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str = "tensorrt"
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(code)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), before])))


def test_one_that_works_may_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "print('welcome')\n__version__ = '10.3.0'\nclass Logger:\n    ERROR = 1\n"
    library(tmp_path, monkeypatch, f"{code}    def __init__(self, level): pass\n")
    assert probe("tensorrt") == Probe({"version": "10.3.0"})


def test_one_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(tmp_path, monkeypatch, "raise ImportError('libnvinfer.so.10: cannot open')")
    held = probe("tensorrt")
    assert held == Probe({}, "ImportError: libnvinfer.so.10: cannot open")


@pytest.mark.parametrize(
    ("name", "hint"), [("SEGV", "don't belong together"), ("ILL", "does not have")]
)
def test_one_that_crashes(
    name: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(tmp_path, monkeypatch, CRASHES.format(name))
    held = probe("tensorrt")
    assert held.crashed
    assert f"SIG{name}" in held.error
    assert hint in held.error
    assert "last line: noise" in held.error


def test_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(tmp_path, monkeypatch, "import time; time.sleep(600)")
    held = probe("tensorrt", seconds=0.3)
    assert held.crashed
    assert "no answer within 0.3 s" in held.error


def test_one_that_exits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(tmp_path, monkeypatch, "import os; os._exit(3)")
    assert probe("tensorrt").error == "its process ended with exit code 3"


def test_a_file_of_the_current_folder_is_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text("raise SystemExit('taken from the current folder')")
    monkeypatch.chdir(tmp_path)
    assert "taken" not in probe("tensorrt").error


def test_nothing_is_left_of_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    library(tmp_path / "..", monkeypatch, "x = 1", name=f"{tmp_path.name}-library")
    before = list(tmp_path.iterdir())
    probe("tensorrt")
    assert list(tmp_path.iterdir()) == before


def test_an_answer_that_is_none() -> None:
    held = read_answer(0, b"{", b"")
    assert held.crashed
    assert held.error
    assert "signal 250" in read_answer(-250, b"", b"").error
