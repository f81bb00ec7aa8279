"""Both models as ONNX Runtime sessions on an NVIDIA GPU: what ``cuda`` and ``ort-trt`` share.

Inputs and outputs lie in device memory that is allocated once and bound to the session: a call
copies the slice in, runs, and copies the result out, and ONNX Runtime allocates nothing.
"""

from __future__ import annotations

import re
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside.backends.onnxsession import OUTPUTS, library_version
from scanside.backends.placement import shown
from scanside.errors import BackendError, DeviceLostError
from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scanside.backends.gpusession import GpuSession
    from scanside.contract import Precision, Role

__all__ = ["LARGEST_BATCH", "OnnxGpuBackend"]

LARGEST_BATCH: Final = 8
"""Slices that are computed at once; more are computed in turns, and device memory stays flat."""

_LANES: Final = 2
"""While the GPU computes one slice another is copied; a third would only wait."""

_DEVICE: Final = "cuda"


_CUDA_ERROR: Final = re.compile(r"CUDA (?:failure|error) (\d+)")
"""As ONNX Runtime tells an error of the CUDA runtime."""

_STAYS: Final = frozenset({214, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719})
"""Errors after which nothing in this process can use the device: memory that can't be corrected,
faults of a kernel, a time-out, a destroyed context.

References
----------
CUDA Runtime API, "Data types used by CUDA Runtime", ``cudaError``: "the process must be
terminated and relaunched".
"""


class OnnxGpuBackend:
    """Both models on the GPU.

    Parameters
    ----------
    name
        As in ``--backend``.
    precision
        Of the models.
    lanes
        Threads that will call; more than two don't help.
    sessions
        The models' sessions by role.
    said
        What to say of it besides library and providers.
    """

    def __init__(
        self,
        name: str,
        precision: Precision,
        lanes: int,
        sessions: Mapping[Role, GpuSession],
        said: Mapping[str, str],
    ) -> None:
        self.name: Final = name
        self.precision: Final = precision
        self.lanes: Final = min(lanes, _LANES)
        self.micro_batch: Final = 1
        self._said = {
            "onnxruntime": library_version(),
            "provider": sessions["classifier"].session.get_providers()[0],
            "lanes": str(self.lanes),
            **{f"{role} nodes": shown(held.ran) for role, held in sessions.items()},
            **said,
        }
        self._models: dict[Role, _Model] = {
            role: _Model(held.session, role, self.lanes) for role, held in sessions.items()
        }

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return self._run("classifier", images)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``."""
        return self._run("segmenter", images)

    def describe(self) -> dict[str, str]:
        """Return library version, provider, lanes, and how many nodes ran on what."""
        return dict(self._said)

    def close(self) -> None:
        """Free sessions and device memory."""
        self._models.clear()

    def _run(self, role: Role, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if role not in self._models:
            raise BackendError("the backend was closed", remedy="open another pipeline")
        model = self._models[role]
        parts = [
            model.run(images[at : at + LARGEST_BATCH])
            for at in range(0, len(images), LARGEST_BATCH)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class _Bound(NamedTuple):
    """Device memory for a number of slices, bound to a session."""

    source: Any
    result: Any
    binding: Any


class _Model:
    """A session and the memory that is bound to it, a set for each lane and number of slices."""

    def __init__(self, session: Any, role: Role, lanes: int) -> None:  # noqa: ANN401
        self._session = session
        self._output, _, self._shape = OUTPUTS[role]
        self._lanes: SimpleQueue[dict[int, _Bound]] = SimpleQueue()
        for _ in range(lanes):
            self._lanes.put({1: self._bind(1)})

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the model on at most `LARGEST_BATCH` slices."""
        sets = self._lanes.get()
        try:
            if len(images) not in sets:
                sets[len(images)] = self._bind(len(images))
            source, result, binding = sets[len(images)]
            source.update_inplace(np.ascontiguousarray(images))
            self._session.run_with_iobinding(binding)
            found: NDArray[np.float32] = result.numpy()
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise _failed(f"ONNX Runtime failed on {self._output}: {error}") from error
        finally:
            self._lanes.put(sets)
        return found

    def _bind(self, count: int) -> _Bound:
        from onnxruntime import OrtValue

        def allocated(shape: list[int], kind: type[np.generic]) -> Any:  # noqa: ANN401
            return OrtValue.ortvalue_from_shape_and_type(shape, kind, _DEVICE, 0)

        source = allocated([count, SIDE, SIDE, len(CHANNELS)], np.uint8)
        result = allocated([count, *self._shape], np.float32)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("image", source)
        binding.bind_ortvalue_output(self._output, result)
        return _Bound(source, result, binding)


def _failed(said: str) -> BackendError:
    """Return the error for a failure; one that stays in the process is told as such."""
    found = _CUDA_ERROR.search(said)
    if found is None or int(found[1]) not in _STAYS:
        return BackendError(said)
    return DeviceLostError(
        said, remedy="end this process and start another: nothing else clears the error"
    )
