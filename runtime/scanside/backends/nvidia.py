"""What every backend on an NVIDIA GPU asks first, without importing a library for it."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["DRIVER", "driver_missing", "provider_missing"]

DRIVER: Final = "libcuda.so.1"
"""The driver's own library, by the name that every CUDA program loads it with."""


def driver_missing() -> str | None:
    """Say why no CUDA program can run here; none where NVIDIA's driver can be loaded.

    That there is a device is not known from it: asking for one takes a tenth of a second and
    more, and whoever uses the device finds out.
    """
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return f"there is no NVIDIA driver here ({DRIVER} can't be loaded)"
    return None


def provider_missing(name: str) -> str | None:
    """Say why ONNX Runtime can't have an execution provider here; none where its file is there.

    Parameters
    ----------
    name
        As in the file's name: ``cuda`` or ``tensorrt``.
    """
    found = find_spec("onnxruntime")
    if found is None or found.origin is None:
        return "onnxruntime-gpu is not installed"
    library = f"libonnxruntime_providers_{name}.so"
    if not (Path(found.origin).parent / "capi" / library).exists():
        return f"the installed onnxruntime has no {library}: it is not onnxruntime-gpu, or lacks it"
    return None
