"""The machine of ``fake_gpu.Machine``, made of NVIDIA's real bindings and the real PyCUDA."""

from __future__ import annotations

import ctypes
import os
import re
from collections import Counter
from typing import Any

import nvinfer
from bindings import RUNTIME

from scanside.backends.tensorrt.library import load_libraries

_TOTALS = (
    "host to device", "device to host", "device memory", "pinned memory", "objects", "contexts",
    "allocations",
)  # fmt: skip
_CODES = {"injected": 999, "out of memory": 2, "illegal address": 700}
_METHODS = {
    "set_tensor_address": "setTensorAddress", "set_input_shape": "setInputShape",
    "infer_shapes": "inferShapes", "execute_async_v3": "enqueueV3",
}  # fmt: skip
_CONTEXTS = {"createExecutionContext", "createExecutionContextWithoutDeviceMemory"}


class Refused(set[str]):
    """Methods by Python's names; the fake library knows C++'s."""

    def add(self, method: str) -> None:
        super().add(method)
        refuse = nvinfer.LIBRARY.refuse
        refuse |= _CONTEXTS if method == "create_execution_context" else {_METHODS[method]}


class Machine:
    """See `fake_gpu.Machine`; there is one driver in a process, so counts start where they are."""

    host_code = None
    runtime = RUNTIME

    def __init__(
        self, version: str, *, integrated: bool = False, devices: int = 1,
        capturable: bool | None = None,
    ) -> None:  # fmt: skip
        assert capturable is None
        os.environ["FAKE_CUDA_INTEGRATED"] = str(int(integrated))
        os.environ["FAKE_CUDA_DEVICES"] = str(devices)
        self.libraries = load_libraries(RUNTIME)
        assert self.libraries.trt.__version__ == version
        self.version = version
        self.refuse = Refused()
        self._driver: Any = ctypes.CDLL("libcuda.so.1")
        self._driver.fake_cuda_name.restype = ctypes.c_char_p
        self._driver.fake_cuda_count.restype = ctypes.c_long
        self.heal()
        nvinfer.LIBRARY.defects.clear()
        self._start = self._totals()

    def fail(self, call: str, *, at: int = 1, times: int = 1, text: str = "injected") -> None:
        for name in self._names(call):
            self._driver.fake_cuda_fail(name, ctypes.c_long(at), ctypes.c_long(times), _CODES[text])

    def heal(self) -> None:
        self._driver.fake_cuda_heal()
        self.refuse.clear()
        nvinfer.LIBRARY.refuse.clear()

    @property
    def calls(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for number in range(96):
            if (name := self._driver.fake_cuda_name(number)) is None:
                break
            found[_bare(name)] += self._driver.fake_cuda_count(name)
        return found

    def threads(self, call: str) -> int:
        return max(self._driver.fake_cuda_threads(name) for name in self._names(call))

    @property
    def bytes(self) -> Counter[str]:
        now = self._totals()
        return Counter({name: now[name] - self._start[name] for name in _TOTALS[:2]})

    @property
    def held(self) -> dict[str, int]:
        now = self._totals()
        return {name: now[name] for name in _TOTALS[2:6]}

    @property
    def defects(self) -> list[str]:
        return [*nvinfer.LIBRARY.defects, *sorted(nvinfer.LIBRARY.missing)]

    def _totals(self) -> dict[str, int]:
        totals = (ctypes.c_long * len(_TOTALS))()
        self._driver.fake_cuda_totals(totals)
        return dict(zip(_TOTALS, totals, strict=True))

    def _names(self, call: str) -> list[bytes]:
        """All versions of a call that were made until now, or the call itself."""
        found = []
        for number in range(96):
            if (name := self._driver.fake_cuda_name(number)) is None:
                break
            if _bare(name) == call:
                found.append(name)
        return found or [call.encode()]


def _bare(name: bytes) -> str:
    return re.sub(r"_v\d$", "", name.decode())
