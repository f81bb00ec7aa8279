"""NVIDIA's bindings that are on the path, of TensorRT or TensorRT-RTX, and their libraries."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

__all__ = ["INFER", "PARSER", "RUNTIME", "trt"]

RUNTIME: Final = "tensorrt_rtx" if find_spec("tensorrt_rtx_bindings") else "tensorrt"
trt: Final[Any] = import_module(f"{RUNTIME}_bindings")

_NAMES: Final = {
    "tensorrt": ("nvinfer", "nvonnxparser"),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_onnxparser_rtx"),
}
_MAJOR: Final = trt.__version__.partition(".")[0]
INFER, PARSER = (f"lib{name}.so.{_MAJOR}" for name in _NAMES[RUNTIME])
