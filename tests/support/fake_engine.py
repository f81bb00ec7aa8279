"""An engine without TensorRT: a plan that holds the ONNX model, computed by ONNX Runtime.

Two fakes share it: `fake_gpu`, a device in Python, and the one in ``tests/gpulab`` that stands
below NVIDIA's real bindings.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"FAKEPLAN"
_TYPES = {
    "tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16,
}  # fmt: skip

Profile = tuple[int, int, int]


class Tensor(NamedTuple):
    """An input or output; its first axis is the batch, -1."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int, ...]
    is_input: bool


def make_plan(model: bytes, version: str, profile: Profile) -> bytes:
    """Return the plan of a model for a version of the library."""
    head = json.dumps({"version": version, "profile": profile}).encode()
    return _MAGIC + len(head).to_bytes(4, "little") + head + model


class FakeEngine:
    """A plan that was read back.

    Raises ValueError for one that is no plan, or that another version has made.
    """

    def __init__(self, plan: bytes, version: str) -> None:
        if not plan.startswith(_MAGIC):
            raise ValueError("magicTag does not match: this is no plan")
        start = len(_MAGIC) + 4
        end = start + int.from_bytes(plan[len(_MAGIC) : start], "little")
        head = json.loads(plan[start:end])
        if head["version"] != version:
            raise ValueError(f"the plan was built by version {head['version']}, not {version}")
        self.profile: Profile = tuple(head["profile"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # Optimised, ONNX Runtime 1.32 computes something else of a graph whose scales are FP16.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            plan[end:], options, providers=["CPUExecutionProvider"]
        )
        self.tensors = [
            Tensor(
                held.name, _TYPES[held.type],
                tuple(n if isinstance(n, int) else -1 for n in held.shape), is_input,
            )
            for is_input, all_ in (
                (True, self._session.get_inputs()), (False, self._session.get_outputs()),
            )
            for held in all_
        ]  # fmt: skip

    def tensor(self, name: str) -> Tensor | None:
        return next((tensor for tensor in self.tensors if tensor.name == name), None)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape of the input is within the profile."""
        (wanted,) = (tensor.shape for tensor in self.tensors if tensor.is_input)
        low, _, high = self.profile
        return shape[1:] == wanted[1:] and low <= shape[0] <= high

    def compute(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        (source, result) = self.tensors
        done: NDArray[np.float32] = self._session.run([result.name], {source.name: image})[0]
        return np.ascontiguousarray(done)
