from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from peerbench.process import run_process
from peerbench.protocol import Job, parse_lines, read_job, write_job

if TYPE_CHECKING:
    from pathlib import Path


def test_a_job_arrives_as_it_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(
        files=("a b.png",), output="out", classifier="c", segmenter="s", gate=0.3, mask=0.5,
        warm_up=(0,), latency=(0, 0), options={"batch": "32"},
    )  # fmt: skip
    write_job(tmp_path / "job.json", job)
    monkeypatch.setattr(sys, "argv", ["case", str(tmp_path / "job.json")])
    assert read_job() == job


def test_what_libraries_print_is_passed_over() -> None:
    found = parse_lines(b'warming up\n{"type":"stream","seconds":2}\n[1]\n{"no":"type"}\n')
    assert found == {"stream": {"seconds": 2}}


def test_one_type_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="stream"):
        parse_lines(b'{"type":"stream"}\n{"type":"stream"}\n')


def test_the_memory_of_a_child_counts() -> None:
    child = "import time; held = bytearray(150 << 20); time.sleep(0.5)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = run_process([sys.executable, "-c", code], {})
    assert done.peak_mb > 150
    assert done.wall_seconds > 0.5


def test_a_failure_shows_what_was_said() -> None:
    with pytest.raises(SystemExit, match="the reason"):
        run_process([sys.executable, "-c", "raise SystemExit('the reason')"], {})
