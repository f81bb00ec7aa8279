"""``scanside doctor`` on this machine, as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scanside.doctor.findings import STATES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done


def test_this_machine_can_run(scanside: Callable[..., Done]) -> None:
    pytest.importorskip("onnxruntime")
    done = scanside("doctor", "--format", "json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["schema"], report["exit_code"]) == ("scanside.doctor/1", 0)
    assert "cpu" in report["usable"]
    found = {finding["name"]: finding for finding in report["findings"]}
    assert len(found) == len(report["findings"])
    assert {finding["state"] for finding in found.values()} <= set(STATES)
    for name in ("onnxruntime", "bundle", "cache folder", "backend cpu", "telemetry"):
        assert found[name]["state"] == "ok", found[name]


def test_what_it_says_is_what_verify_does(tmp_path: Path) -> None:
    """A broken ONNX Runtime and no OpenVINO: doctor says 8, and so does verify."""
    broken = tmp_path / "onnxruntime"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libonnxruntime.so: cut short')")
    hidden = tmp_path / "openvino"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('no such plugin')")
    code = "from scanside.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for command, said in (("doctor", "cut short"), ("verify", "cut short")):
        done = subprocess.run(
            [sys.executable, "-c", code, command],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == 8, done.stderr
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_damaged_default_bundle(
    scanside: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("scanside.bundle.DEFAULT_BUNDLE", tmp_path)
    done = scanside("doctor")
    assert done.code == 4
    assert "PROBLEM bundle" in done.out
    assert "the default bundle is damaged" in done.err


def test_nothing_is_imported_that_is_only_asked_for() -> None:
    """The libraries are imported in processes of their own, never in this one."""
    code = """
import sys
from scanside.doctor.examine import examine
from scanside.doctor.host import Host
from scanside.doctor.probe import Probe
asked = []
def probe(what):
    asked.append(what)
    return Probe({}, "not tried")
examine(Host(probe=probe))
print([n for n in ("onnxruntime", "openvino", "tensorrt", "pycuda", "rich") if n in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
