"""The ``ort-trt`` backend: ONNX Runtime's TensorRT execution provider.

It builds engines when a model is first loaded, which takes minutes, and keeps them in a folder
of that model's own: in a shared one it has taken another model's engine.

References
----------
https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html and
https://github.com/microsoft/onnxruntime/issues/6455 (another model's engine).
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

from scanside.backends.nvidia import driver_missing, provider_missing
from scanside.contract import ROLES
from scanside.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.backends.gpusession import GpuSession
    from scanside.backends.onnxgpu import OnnxGpuBackend
    from scanside.bundle import Bundle
    from scanside.contract import Precision, Role

__all__ = ["load", "unavailable"]

_LOG: Final = logging.getLogger(__name__)


def unavailable() -> str | None:
    """Say why this backend can't be used here, as far as that is known without loading it."""
    return driver_missing() or provider_missing("tensorrt")


def load(bundle: Bundle, precision: Precision, *, lanes: int = 1) -> OnnxGpuBackend:
    """Load both models of a bundle; where no engines are kept, they are built.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of threads that will call.

    Raises
    ------
    BackendError
        If there is no driver, no onnxruntime-gpu with TensorRT, or no device, or the models
        would not be computed there.
    BundleError
        If the bundle does not hold the precision.
    """
    if (why := unavailable()) is not None:
        raise BackendError(
            f"the ort-trt backend can't be used here: {why}",
            remedy="in an environment of its own, on x86-64: pip install 'scanside[gpu]' (for"
            " 64-bit Arm there is no onnxruntime-gpu with TensorRT on PyPI: use tensorrt there)",
        )
    from scanside.backends.gpusession import prepare_libraries
    from scanside.backends.onnxgpu import LARGEST_BATCH, OnnxGpuBackend

    contents = {role: bundle.read_model(role, precision) for role in ROLES}
    # The wheel of TensorRT holds the libraries and loads them when it is imported.
    prepare_libraries("tensorrt")
    sessions = {
        role: _session(content, role, precision, LARGEST_BATCH)
        for role, content in contents.items()
    }
    return OnnxGpuBackend("ort-trt", precision, lanes, sessions, {})


def _session(content: bytes, role: Role, precision: Precision, most: int) -> GpuSession:
    from scanside.backends.gpusession import CUDA, TENSORRT, open_gpu_session
    from scanside.backends.keptengines import kept_engines
    from scanside.backends.onnxsession import library_version

    options = _options(precision, most)
    about = {
        "model": hashlib.sha256(content).hexdigest(),
        "role": role,
        "onnxruntime": library_version(),
        "tensorrt": _version(),
        "options": repr(sorted(options.items())),
    }
    with kept_engines(about) as folder:
        if folder is None or not any(folder.iterdir()):
            _LOG.warning("scanside: TensorRT builds an engine of the %s; that takes minutes", role)
        providers = [(TENSORRT, options | _cache(folder)), (CUDA, {"use_tf32": "0"})]
        return open_gpu_session(content, role, precision, providers)


def _options(precision: Precision, most: int) -> dict[str, str]:
    """Return what the engine depends on; the profile covers one slice to the largest batch."""
    flag = {True: "1", False: "0"}
    shapes = {"min": 1, "opt": 1, "max": most}
    return {
        "device_id": "0",
        "trt_fp16_enable": flag[precision != "fp32"],
        "trt_int8_enable": flag[precision == "int8"],
        **{f"trt_profile_{which}_shapes": f"image:{n}x256x256x3" for which, n in shapes.items()},
    }


def _cache(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {"trt_engine_cache_enable": "0"}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def _version() -> str:
    """Return the version of the TensorRT that Python knows of, where it knows one."""
    import sys

    return str(getattr(sys.modules.get("tensorrt"), "__version__", "the system's"))
