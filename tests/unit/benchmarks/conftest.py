"""Makes the benchmark's modules importable, as `python benchmarks/peers.py` has them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
