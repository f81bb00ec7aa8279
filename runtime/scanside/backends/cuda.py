"""The ``cuda`` backend: ONNX Runtime's CUDA execution provider.

It computes any precision, INT8 as float32 between QuantizeLinear and DequantizeLinear: as exact,
and no faster than FP32. For speed there are ``tensorrt`` and ``ort-trt``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.backends.nvidia import driver_missing, provider_missing
from scanside.contract import ROLES
from scanside.errors import BackendError

if TYPE_CHECKING:
    from scanside.backends.onnxgpu import OnnxGpuBackend
    from scanside.bundle import Bundle
    from scanside.contract import Precision

__all__ = ["load", "unavailable"]

_OPTIONS: Final = {"device_id": "0", "use_tf32": "0"}
"""TF32 would compute FP32 with 10 bits of mantissa, and say nothing.

References
----------
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""


def unavailable() -> str | None:
    """Say why this backend can't be used here, as far as that is known without loading it."""
    return driver_missing() or provider_missing("cuda")


def load(bundle: Bundle, precision: Precision, *, lanes: int = 1) -> OnnxGpuBackend:
    """Load both models of a bundle.

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
        If there is no driver, no onnxruntime-gpu or no device, or the models would not be
        computed there.
    BundleError
        If the bundle does not hold the precision.
    """
    if (why := unavailable()) is not None:
        raise BackendError(
            f"the cuda backend can't be used here: {why}",
            remedy="in an environment of its own: pip install 'scanside[gpu]'; scanside doctor"
            " says what else is missing",
        )
    from scanside.backends.gpusession import CUDA, open_gpu_session, prepare_libraries
    from scanside.backends.onnxgpu import OnnxGpuBackend

    contents = {role: bundle.read_model(role, precision) for role in ROLES}
    prepare_libraries()
    sessions = {
        role: open_gpu_session(content, role, precision, [(CUDA, _OPTIONS)])
        for role, content in contents.items()
    }
    said = {"int8": "float32 between the quantisers"} if precision == "int8" else {}
    return OnnxGpuBackend("cuda", precision, lanes, sessions, said)
