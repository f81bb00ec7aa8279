"""What is freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

_GROWTH = """
import os
import sys
import numpy as np
from pathlib import Path
from scanside.listen.memory import give_back_memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

if sys.argv[1] == "given back" and not give_back_memory():
    sys.exit("no mallopt")
np.ones(30_000_000, np.uint8)  # freed at once: from here on glibc keeps what is smaller
before = resident_mb()
large, small = [], []
for _ in range(100):
    large.append(np.ones(1_000_000, np.uint8))
    small.append(np.ones(50_000, np.uint8))  # too large for a hole before them
large.clear()
print(resident_mb() - before)
"""


def _growth(*, given_back: bool) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH, "given back" if given_back else "kept"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if "no mallopt" in done.stderr:
        pytest.skip("the allocator is not glibc's")
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_large_blocks_go_back_though_small_ones_behind_them_stay() -> None:
    assert _growth(given_back=False) > 80
    assert _growth(given_back=True) < 10
