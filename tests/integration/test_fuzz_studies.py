"""The short form of ``make fuzz-dicom``: mutated files are read or refused, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")
pytest.importorskip("nibabel", reason="the extra nifti is not installed")

from workers import run_all

TESTS = Path(__file__).parents[1]


def test_mutated_files_are_read_or_refused() -> None:
    counts = ["--dicom", "700", "--nifti", "300", "--seed", "10000000"]
    done = subprocess.run(
        [sys.executable, TESTS / "campaigns" / "fuzz_studies.py", *counts],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS / "support"), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["failures"] == []
    outcomes = found["outcomes"]
    assert sum(outcomes.values()) == 1000
    assert min(outcomes["dicom: read"], outcomes["dicom: refused"]) > 100
    assert min(outcomes["nifti: read"], outcomes["nifti: refused"]) > 50


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_case_that_raises_something_else_or_dies_fails() -> None:
    def run(task: tuple[str, int]) -> str:
        if task[1] == 1:
            os._exit(7)
        if task[1] == 2:
            raise KeyError("x")
        return "read"

    done = {each.task[1]: each.failed for each in run_all([("dicom", n) for n in range(4)], run, 2)}
    assert done[0] == done[3] == ""
    assert "died (code 7)" in done[1]
    assert "KeyError" in done[2]
