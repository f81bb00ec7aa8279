"""ONNX Runtime with the GPU's providers played by its CPU provider.

Everything but the provider's name is real: sessions, bindings, profiles. `GpuProviders` says
what the machine is like: which providers the package has, which can't be loaded, which operators
land on which other provider.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from scanside.backends import nvidia

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

CPU, CUDA, TENSORRT = (
    "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider",
)  # fmt: skip


class GpuProviders:
    """A machine with an NVIDIA GPU, as far as ONNX Runtime is asked.

    Attributes
    ----------
    package
        Providers that the package has.
    broken
        Providers whose library can't be loaded: the session goes on without them.
    elsewhere
        Operators that are put on another provider.
    engine
        What the TensorRT provider writes into its cache.
    fails
        What a bound run fails with; nothing where it works.
    made
        Providers and options of every session, in order.
    device
        Values that were allocated on the device, as (shape, device).
    """

    def __init__(self) -> None:
        self.package: tuple[str, ...] = (TENSORRT, CUDA, CPU)
        self.broken: tuple[str, ...] = ()
        self.elsewhere: dict[str, str] = {}
        self.engine = b"engine"
        self.fails = ""
        self.made: list[list[tuple[str, dict[str, str]]]] = []
        self.entries: list[dict[str, str]] = []
        self.device: list[tuple[list[int], str]] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in the place of the real one."""
        allocate = onnxruntime.OrtValue.ortvalue_from_shape_and_type

        def on_device(shape: list[int], kind: Any, device: str, number: int) -> Any:
            self.device.append((shape, f"{device}:{number}"))
            value = allocate(shape, kind, "cpu", 0)
            on_host = value.numpy
            value.numpy = lambda: on_host().copy()  # from a device it is always a copy
            return value

        patch.setattr(onnxruntime, "get_available_providers", lambda: list(self.package))
        patch.setattr(onnxruntime, "SessionOptions", partial(_Options, self))
        patch.setattr(onnxruntime, "InferenceSession", partial(_Session, self))
        patch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", on_device)
        patch.setattr(nvidia, "DRIVER", None)  # CDLL(None) is this process: it can be loaded

    def keep_engines(self, providers: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        """Write what TensorRT's provider would keep, where it was told to and has not."""
        for name, options in providers:
            if name == TENSORRT and (folder := options.get("trt_engine_cache_path")):
                file = Path(folder) / "TRTKernel_sm87.engine"
                if not file.exists():
                    file.write_bytes(self.engine)


class _Options(onnxruntime.SessionOptions):
    def __init__(self, machine: GpuProviders) -> None:
        super().__init__()
        self._machine = machine

    def add_session_config_entry(self, name: str, value: str) -> None:
        self._machine.entries.append({name: value})


class _Session(onnxruntime.InferenceSession):
    def __init__(
        self, machine: GpuProviders, content: bytes, options: Any,
        providers: Sequence[tuple[str, Mapping[str, str]]], enable_fallback: int,
    ) -> None:  # fmt: skip
        assert not enable_fallback
        machine.made.append([(name, dict(held)) for name, held in providers])
        machine.keep_engines(providers)
        self._machine = machine
        self._names = [name for name, _ in providers if name not in machine.broken]
        super().__init__(content, options, providers=[CPU])

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        if self._machine.fails:
            raise RuntimeError(self._machine.fails)
        super().run_with_iobinding(binding, options)

    def get_providers(self) -> list[str]:
        return [*self._names, CPU]

    def end_profiling(self) -> str:
        file = Path(super().end_profiling())
        events = json.loads(file.read_bytes())
        for known in (event.get("args", {}) for event in events):
            if known.get("provider") == CPU:
                known["provider"] = self._machine.elsewhere.get(known["op_name"], self._names[0])
        file.write_text(json.dumps(events))
        return str(file)
