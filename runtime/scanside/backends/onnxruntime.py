"""The ``cpu`` backend: ONNX Runtime's CPU execution provider."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scanside.errors import BackendError, BundleError, ExtraNotInstalledError
from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scanside.bundle import Bundle
    from scanside.contract import Precision, Role

__all__ = ["OnnxRuntimeBackend", "load", "usable_cores"]

_PROVIDER: Final = "CPUExecutionProvider"
OUTPUTS: Final = {
    "classifier": ("tumor_probability", "tensor(float)", [1]),
    "segmenter": ("mask_probability", "tensor(float)", [SIDE, SIDE]),
}
"""Name, type and shape without the batch axis of what each model gives."""

_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/cpu.max")
_ERRORS_ONLY: Final = 3


def load(bundle: Bundle, precision: Precision, *, lanes: int = 1) -> OnnxRuntimeBackend:
    """Load both models of a bundle.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of threads whose calls are computed side by side, each on its share of the cores.

    Raises
    ------
    ExtraNotInstalledError
        If onnxruntime is not installed.
    BackendError
        If ONNX Runtime refuses a model.
    BundleError
        If the bundle does not hold the precision.
    """
    return OnnxRuntimeBackend(
        bundle, precision, lanes=lanes, threads=max(1, usable_cores() // lanes)
    )


def usable_cores() -> int:
    """Return the number of cores this process may use: affinity and cgroup quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_LIMIT.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


class OnnxRuntimeBackend:
    """Both models as ONNX Runtime sessions on the CPU.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of threads whose calls are computed side by side.
    threads
        Threads that compute one call.
    """

    name: Final = "cpu"

    def __init__(self, bundle: Bundle, precision: Precision, *, lanes: int, threads: int) -> None:
        self.precision: Final = precision
        self.lanes: Final = lanes
        self._threads = threads
        self._classifier = _session(bundle, "classifier", precision, threads)
        self._segmenter = _session(bundle, "segmenter", precision, threads)

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return _run(self._classifier, "tumor_probability", images)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``."""
        return _run(self._segmenter, "mask_probability", images)

    def describe(self) -> dict[str, str]:
        """Return library version, provider and threads."""
        import onnxruntime

        return {
            "onnxruntime": str(onnxruntime.__version__),
            "provider": _PROVIDER,
            "lanes": str(self.lanes),
            "threads": str(self._threads),
        }

    def close(self) -> None:
        """Free both sessions."""
        self._classifier = self._segmenter = None


def _session(bundle: Bundle, role: Role, precision: Precision, threads: int) -> Any:  # noqa: ANN401
    """Return a session on the CPU provider, made from the very bytes that were verified."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise _broken(error) from error
        raise ExtraNotInstalledError(
            "the cpu backend", package="onnxruntime", extra="cpu"
        ) from None
    except ImportError as error:
        raise _broken(error) from error
    content = bundle.read_model(role, precision)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Two sessions take turns: threads of one that spin while they wait take the cores from the
    # other, and from reading and writing (on 2 cores the models alone ran at 1.7 times the rate).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[_PROVIDER])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BackendError(
            f"ONNX Runtime {onnxruntime.__version__} refuses the {precision} {role}: {error}",
            remedy="export the bundle again, or install the onnxruntime it was made with",
        ) from error
    if session.get_providers() != [_PROVIDER]:
        raise BackendError(
            f"ONNX Runtime gave a session on {session.get_providers()}", accepted=_PROVIDER
        )
    _check_interface(session, role, f"$.models.{role}.{precision}")
    return session


def _check_interface(session: Any, role: Role, field: str) -> None:  # noqa: ANN401
    """Refuse a model whose input and output are not those of its role."""
    found = [(t.name, t.type, t.shape[1:]) for t in (*session.get_inputs(), *session.get_outputs())]
    wanted = [("image", "tensor(uint8)", [SIDE, SIDE, len(CHANNELS)]), OUTPUTS[role]]
    if found != wanted:
        raise BundleError(
            f"{field}: the model has {found}",
            accepted=f"{wanted}, the batch axis first",
            remedy="export the bundle again: the models may have been exchanged",
        )


def _broken(error: ImportError) -> BackendError:
    return BackendError(
        f"onnxruntime is installed and cannot be imported: {error}",
        remedy="install it again: pip install --force-reinstall 'scanside[cpu]'",
    )


def _run(session: Any, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ANN401
    if session is None:
        raise BackendError("the backend was closed", remedy="open another pipeline")
    try:
        result: NDArray[np.float32] = session.run([output], {"image": images})[0]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BackendError(f"ONNX Runtime failed on {output}: {error}") from error
    return result
