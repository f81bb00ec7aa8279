"""ONNX Runtime sessions on models in memory, for looking at their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside.errors import BackendError, ExtraNotInstalledError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["open_session"]

_ERRORS_ONLY = 3


def open_session(model: bytes, *, threads: int = 0, optimised: bool = True) -> InferenceSession:
    """Open a session on ONNX Runtime's CPU provider.

    Parameters
    ----------
    model
        The content of an ONNX file.
    threads
        Threads that compute; 0 for all cores.
    optimised
        Whether ONNX Runtime may change the graph.

    Raises
    ------
    ExtraNotInstalledError
        If onnxruntime is not installed.
    BackendError
        If ONNX Runtime refuses the model.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise ExtraNotInstalledError(
            "calibration", package="onnxruntime", extra="calibrate"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BackendError(
            f"ONNX Runtime {onnxruntime.__version__} refuses the model: {error}",
            remedy="export the bundle again",
        ) from error
