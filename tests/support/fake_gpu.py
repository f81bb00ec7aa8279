"""A GPU in Python: as much of PyCUDA, of the driver and of TensorRT's runtime as is used.

Streams are lazy, which is the hardest thing a device may do to its user: nothing is computed or
copied before somebody waits for it, and then only what has to come before. A result that is read
too early is therefore an old one, always. Every call needs the context to be current in its
thread; what is allocated and not freed is in `live`; any call can be made to fail.
"""

from __future__ import annotations

import enum
import itertools
import threading
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from fake_engine import FakeEngine
from scanside.backends.tensorrt.library import Libraries

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.enginematch import Runtime


class CudaError(Exception):
    """PyCUDA's ``Error``."""


class OutOfMemoryError(CudaError):
    """PyCUDA's ``MemoryError``."""


class Pinned(bytearray):
    """Page-locked memory: the ``base`` of its array."""

    gpu: Gpu
    address: int

    def free(self) -> None:
        self.gpu.free(self.address, "cuMemFreeHost")

    def get_device_pointer(self) -> int:
        return self.address


class Gpu:
    """The device.

    Parameters
    ----------
    integrated
        Whether it shares the host's memory.
    """

    def __init__(self, *, integrated: bool = False) -> None:
        self.integrated = integrated
        self.calls: Counter[str] = Counter()
        self.threads: dict[str, set[int]] = {}
        self.log: list[str] = []
        self.bytes: Counter[str] = Counter()
        self.live: dict[int, Any] = {}
        self.streams: WeakValueDictionary[int, Stream] = WeakValueDictionary()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.objects = 0
        self.retained = 0
        self.sticky = ""
        self._failures: dict[str, tuple[int, int, str]] = {}
        self._numbers = itertools.count(0x1000, 0x1000)
        self._current = threading.local()

    def fail(self, call: str, at: int, times: int, text: str) -> None:
        """Let the n-th call from now fail; 0 times: and every call of any kind after it."""
        self._failures[call] = (self.calls[call] + at, times, text)

    def heal(self) -> None:
        """Let nothing fail any more."""
        self.sticky = ""
        self._failures.clear()

    def call(self, name: str, *, context: bool = True) -> None:
        """Take note of a call; fail where it has to."""
        self.calls[name] += 1
        self.threads.setdefault(name, set()).add(threading.get_ident())
        self.log.append(name)
        if context and not self.stack:
            raise CudaError(f"{name} failed: invalid device context")
        at, times, text = self._failures.get(name, (0, 1, ""))
        if at and at <= self.calls[name] < at + max(times, 1):
            self.sticky = "" if times else text
            raise (OutOfMemoryError if text == "out of memory" else CudaError)(
                f"{name} failed: {text}"
            )
        if self.sticky:
            raise CudaError(f"{name} failed: {self.sticky}")

    @property
    def stack(self) -> list[object]:
        """Contexts that were pushed in this thread."""
        if not hasattr(self._current, "stack"):
            self._current.stack = []
        stack: list[object] = self._current.stack
        return stack

    def allocate(self, memory: Any) -> int:
        address = next(self._numbers)
        self.live[address] = memory
        return address

    def free(self, address: int, name: str) -> None:
        self.call(name)
        del self.live[address]

    def view(self, address: int, shape: tuple[int, ...], dtype: Any) -> Any:
        """The memory at an address as an array; too little of it raises."""
        count = int(np.prod(shape))
        return np.frombuffer(self.live[address], dtype, count).reshape(shape)


class Stream:
    def __init__(self, gpu: Gpu, flags: int = 0) -> None:
        self.gpu = gpu
        gpu.objects += 1
        gpu.call("cuStreamCreate")
        assert flags == 1, "a stream that waits for the default one"
        self.handle = next(gpu._numbers)
        self.pending: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        self.given = self.done = 0
        self._one = threading.Lock()
        gpu.streams[self.handle] = self

    def __del__(self) -> None:
        self.gpu.objects -= 1

    def give(self, work: Callable[[], None]) -> None:
        if self.captured is None:
            self.pending.append(work)
            self.given += 1
        else:
            self.captured.append(work)

    def run(self, until: int | None = None) -> None:
        """Compute what was given, or the first so many of all that ever was."""
        with self._one:  # whoever waits, the steps come one after the other
            while self.pending and (until is None or self.done < until):
                self.pending[0]()
                del self.pending[0]
                self.done += 1

    def synchronize(self) -> None:
        self.gpu.call("cuStreamSynchronize")
        self.run()


class Event:
    def __init__(self, gpu: Gpu, flags: int) -> None:
        self.gpu = gpu
        gpu.objects += 1
        gpu.call("cuEventCreate")
        self.flags = flags
        self._recorded: tuple[Stream, int] | None = None

    def __del__(self) -> None:
        self.gpu.objects -= 1

    def record(self, stream: Stream) -> None:
        self.gpu.call("cuEventRecord")
        self._recorded = (stream, stream.given)

    def synchronize(self) -> None:
        self.gpu.call("cuEventSynchronize")
        if self._recorded is not None:
            stream, until = self._recorded
            stream.run(until)


class _DeviceMemory:
    def __init__(self, gpu: Gpu, size: int) -> None:
        gpu.call("cuMemAlloc")
        self._gpu = gpu
        self._address = gpu.allocate(bytearray(b"\xcd" * size))

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._gpu.free(self._address, "cuMemFree")


def pycuda(gpu: Gpu, *, devices: int = 1) -> Any:  # noqa: C901 - small functions
    """The module ``pycuda.driver``."""

    class Context:
        handle = 1

        def push(self) -> None:
            gpu.call("cuCtxPushCurrent", context=False)
            gpu.stack.append(self)

        @staticmethod
        def synchronize() -> None:
            gpu.call("cuCtxSynchronize")
            for stream in list(gpu.streams.values()):
                stream.run()

        def detach(self) -> None:
            gpu.retained -= 1
            if self in gpu.stack:
                gpu.stack.remove(self)

    class Device:
        def __init__(self, number: int) -> None:
            if number >= devices:
                raise CudaError("cuDeviceGet failed: invalid device ordinal")

        def name(self) -> str:
            return "Fake GPU"

        def compute_capability(self) -> tuple[int, int]:
            return 8, 7

        def get_attribute(self, attribute: int) -> int:
            assert attribute == 18
            return int(gpu.integrated)

        def retain_primary_context(self) -> Context:
            gpu.retained += 1
            return Context()

    def init() -> None:
        gpu.call("cuInit", context=False)
        if not devices:
            raise CudaError("cuInit failed: no CUDA-capable device is detected")

    def pagelocked_empty(shape: Any, dtype: Any, mem_flags: int = 0) -> Any:
        gpu.call("cuMemHostAlloc")
        assert mem_flags in {0, 2}
        memory = Pinned(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        memory.gpu, memory.address = gpu, gpu.allocate(memory)
        return np.ndarray(shape, dtype, buffer=memory)

    def memcpy_htod_async(address: int, host: Any, stream: Stream) -> None:
        gpu.call("cuMemcpyHtoDAsync")
        gpu.bytes["host to device"] += host.nbytes
        stream.give(lambda: np.copyto(gpu.view(address, host.shape, host.dtype), host))

    def memcpy_dtoh_async(host: Any, address: int, stream: Stream) -> None:
        gpu.call("cuMemcpyDtoHAsync")
        size = host.nbytes

        def copy() -> None:
            gpu.bytes["device to host"] += size
            np.copyto(host, gpu.view(address, host.shape, host.dtype))

        stream.give(copy)

    return SimpleNamespace(
        Error=CudaError, MemoryError=OutOfMemoryError, Context=Context, Device=Device,
        Stream=lambda flags: Stream(gpu, flags), Event=lambda flags: Event(gpu, flags),
        device_attribute=SimpleNamespace(INTEGRATED=18),
        event_flags=SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2),
        host_alloc_flags=SimpleNamespace(DEVICEMAP=2),
        init=init, mem_alloc=lambda size: _DeviceMemory(gpu, size),
        pagelocked_empty=pagelocked_empty, memcpy_htod_async=memcpy_htod_async,
        memcpy_dtoh_async=memcpy_dtoh_async,
    )  # fmt: skip


class Driver:
    """What is called of ``libcuda.so.1`` through ctypes: graphs."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def _code(self, name: str, *, context: bool = True) -> int:
        try:
            self._gpu.call(name, context=context)
        except CudaError:
            return 700 if self._gpu.sticky else 900
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:  # noqa: N802
        if code := self._code("cuCtxPushCurrent", context=False):
            return code
        self._gpu.stack.append(context)
        return 0

    def cuCtxPopCurrent_v2(self, context: None) -> int:  # noqa: N802
        assert context is None
        self._gpu.stack.pop()
        return self._code("cuCtxPopCurrent", context=False)

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        assert mode == 1, "a capture that other threads could break"
        if code := self._code("cuStreamBeginCapture"):
            return code
        self._gpu.streams[stream.value].captured = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        held = self._gpu.streams[stream.value]
        work, held.captured = held.captured, None
        if code := self._code("cuStreamEndCapture"):
            return code
        graph._obj.value = next(self._gpu._numbers)
        self._gpu.graphs[graph._obj.value] = work or []
        return 0

    def cuGraphInstantiateWithFlags(self, ready: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        assert flags.value == 0
        if code := self._code("cuGraphInstantiateWithFlags"):
            return code
        ready._obj.value = next(self._gpu._numbers)
        self._gpu.graphs[ready._obj.value] = self._gpu.graphs[graph.value]
        return 0

    def cuGraphLaunch(self, graph: Any, stream: Any) -> int:  # noqa: N802
        if code := self._code("cuGraphLaunch"):
            return code
        for work in self._gpu.graphs[graph.value]:
            self._gpu.streams[stream.value].give(work)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        del self._gpu.graphs[graph.value]
        return 0

    cuGraphExecDestroy = cuGraphDestroy  # noqa: N815

    def cuGetErrorString(self, code: int, text: Any) -> int:  # noqa: N802
        text._obj.value = f"the fake's error {code}".encode()
        return 0


class ErrorCodeTRT(enum.Enum):
    INTERNAL_ERROR = 2
    FAILED_ALLOCATION = 5


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(enum.Enum):
    FLOAT, HALF, UINT8 = 0, 1, 5


_TYPES = {np.float32: DataType.FLOAT, np.uint8: DataType.UINT8, np.float16: DataType.HALF}


class _ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class _Context:
    """An execution context; it has what its version has."""

    profiler: Any = None
    error_recorder: Any = None

    def __init__(self, trt: Any, engine: Any, gpu: Gpu) -> None:
        self._trt, self._engine, self._gpu = trt, engine, gpu
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self._memory = 0
        if trt.major >= 10:
            self.set_device_memory = self._set
        if trt.major == 8:
            _Context.device_memory = property(None, lambda self, memory: self._set(memory, 1))
        if trt.capturable is not None:
            self.is_stream_capturable = lambda _: trt.capturable

    def _set(self, memory: int, size: int) -> None:
        assert len(self._gpu.live[memory]) >= size
        self._memory = memory

    def set_tensor_address(self, name: str, address: int) -> bool:
        if self._trt.asked("set_tensor_address"):
            return bool(self._trt.report(f"{name}: {address:x} is refused"))
        self._addresses[name] = address
        return self._engine.fake.tensor(name) is not None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._trt.asked("set_input_shape") or not self._engine.fake.takes(shape):
            return bool(self._trt.report(f"{name}: {shape} is not within the profile"))
        self._shape = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        if self._trt.asked("infer_shapes") or not self._shape:
            self._trt.report("image: its shape is not known")
            return ["image"]
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape[:1] + self._engine.fake.tensor(name).shape[1:]

    def execute_async_v3(self, handle: int) -> bool:
        gpu, engine = self._gpu, self._engine.fake
        gpu.call("launch")
        if self._trt.asked("execute_async_v3"):
            return bool(self._trt.report("the enqueue failed"))
        assert self._shape
        assert self._memory
        assert set(self._addresses) == {tensor.name for tensor in engine.tensors}
        # Contexts that share memory must not compute at once: one stream keeps them apart.
        assert self._trt.users.setdefault(self._memory, handle) == handle
        shape, (source, result) = self._shape, (self._addresses[t.name] for t in engine.tensors)

        def compute() -> None:
            done = engine.compute(gpu.view(source, shape, np.uint8))
            np.copyto(gpu.view(result, done.shape, np.float32), done)

        gpu.streams[handle].give(compute)
        if self.profiler is not None:
            self.profiler.report_layer_time("conv1", 0.5)
        return True


class _Engine:
    def __init__(self, trt: Any, plan: bytes, gpu: Gpu) -> None:
        self.fake = FakeEngine(plan, trt.__version__)
        self._trt, self._gpu = trt, gpu
        if trt.major >= 10:
            self.device_memory_size_v2 = 4096
            self.create_execution_context = self._with_strategy
        else:
            self.device_memory_size = 4096
            self.create_execution_context_without_device_memory = self._context

    @property
    def num_io_tensors(self) -> int:
        return len(self.fake.tensors)

    def get_tensor_name(self, index: int) -> str:
        return self.fake.tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if self.fake.tensor(name).is_input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return _TYPES[self.fake.tensor(name).dtype]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.fake.tensor(name).shape

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert index == 0
        return [(batch, *self.fake.tensor(name).shape[1:]) for batch in self.fake.profile]

    def _with_strategy(self, strategy: Any) -> _Context | None:
        assert strategy is self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return self._context()

    def _context(self) -> _Context | None:
        if self._trt.asked("create_execution_context"):
            self._trt.report("not enough memory", ErrorCodeTRT.FAILED_ALLOCATION)
            return None
        return _Context(self._trt, self, self._gpu)


def tensorrt(gpu: Gpu, version: str = "10.3.0", *, capturable: bool | None = None) -> Any:
    """The module ``tensorrt`` of a version; ``refuse`` names calls that it refuses from then on."""
    module = SimpleNamespace(
        __name__="tensorrt", __version__=version, major=int(version.partition(".")[0]),
        capturable=capturable, refuse=set(), users={}, recorder=None, host_code=[],
        ILogger=_ILogger, IErrorRecorder=type("IErrorRecorder", (), {}),
        IProfiler=type("IProfiler", (), {}), ErrorCodeTRT=ErrorCodeTRT,
        TensorIOMode=TensorIOMode, DataType=DataType,
    )  # fmt: skip
    if module.major >= 10:
        module.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED=object())

    def report(text: str, code: ErrorCodeTRT = ErrorCodeTRT.INTERNAL_ERROR) -> None:
        module.recorder.report_error(code, text)

    module.report = report
    module.asked = module.refuse.__contains__

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger: Any) -> None:
            logger.log(_ILogger.INFO, "a runtime was made")

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "error_recorder":
                module.recorder = value
            else:
                module.host_code.append((name, value))

        def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
            gpu.call("deserialize")
            try:
                return _Engine(module, plan, gpu)
            except ValueError as error:
                report(str(error))
                return None

    module.Runtime = Runtime
    return module


class Machine:
    """A device and a library, as the tests see them, and what was done with them.

    Parameters
    ----------
    version
        Of TensorRT.
    integrated
        Whether the device shares the host's memory.
    devices
        How many there are.
    capturable
        What TensorRT-RTX says of capturing; none for TensorRT, which is not asked.
    """

    def __init__(
        self, version: str, *, integrated: bool = False, devices: int = 1,
        capturable: bool | None = None,
    ) -> None:  # fmt: skip
        self._gpu = Gpu(integrated=integrated)
        self.runtime: Runtime = "tensorrt"
        trt = tensorrt(self._gpu, version, capturable=capturable)
        self.libraries = Libraries(trt, pycuda(self._gpu, devices=devices), Driver(self._gpu))
        self.version = version
        self.host_code: list[tuple[str, Any]] = trt.host_code
        self.refuse: set[str] = trt.refuse
        """Methods of TensorRT, as Python names them, that say no from then on."""

    def fail(self, call: str, *, at: int = 1, times: int = 1, text: str = "injected") -> None:
        """Let the n-th call of the driver from now fail; 0 times: and all calls after it."""
        self._gpu.fail(call, at, times, text)

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._gpu.heal()
        self.refuse.clear()

    @property
    def calls(self) -> Counter[str]:
        """Calls of the driver by name, without versions, and ``launch`` for each enqueue."""
        return Counter(self._gpu.calls)

    def threads(self, call: str) -> int:
        """Number of threads that have made a call."""
        return len(self._gpu.threads.get(call, ()))

    @property
    def bytes(self) -> Counter[str]:
        """Bytes copied, ``host to device`` and ``device to host``."""
        return Counter(self._gpu.bytes)

    @property
    def held(self) -> dict[str, int]:
        """What was allocated or made and not freed."""
        gpu = self._gpu
        return {
            "memory": len(gpu.live), "objects": gpu.objects + len(gpu.graphs),
            "contexts": gpu.retained,
        }  # fmt: skip

    @property
    def defects(self) -> list[str]:
        """What went wrong in the fake itself."""
        return []
