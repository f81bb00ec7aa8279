"""The ``tensorrt-rtx`` backend: engines built ahead of time, for GPUs of desktop computers."""

from __future__ import annotations

from functools import partial
from typing import Final

from scanside.backends import tensorrt

__all__ = ["load"]

load: Final = partial(tensorrt.load, runtime="tensorrt_rtx")
