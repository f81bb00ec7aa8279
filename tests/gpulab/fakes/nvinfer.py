"""TensorRT without a GPU, below NVIDIA's real Python bindings of any version.

``install()`` gives the factories of the empty libraries (``nvinfer.c``) objects of this module and
returns the bindings: Python's side of every call, its types, its signatures, when it gives the
interpreter free, are NVIDIA's own. What an engine computes is ONNX Runtime's work, started where
the fake driver's stream comes to it.
"""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from bindings import INFER, PARSER, trt
from objects import DIMS, SHAPE, Library, Object, Pointer, virtual

from fake_engine import FakeEngine, Profile, make_plan
from fake_tensorrt import TRT_LAYERS

_Name, _Number, _Size, _Yes = ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_bool
_TYPES = {np.float32: 0, np.float16: 1, np.uint8: 5}
_INPUT, _OUTPUT = 1, 2
_INT8 = 2
_VERBOSE = 4
_ACTIVATIONS = 4096

Work = ctypes.CFUNCTYPE(None, _Size)


class Driver:
    """The fake driver's side that TensorRT sees: memory, and a stream that takes work."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.library.fake_cuda_launch.argtypes = [Pointer, Work, _Size]
        self.library.fake_cuda_holds.argtypes = [_Size, _Size]
        self._work: list[Any] = []
        self._do = Work(lambda number: self._work[number]())

    def launch(self, stream: int, work: Any) -> bool:
        self._work.append(work)
        return self.library.fake_cuda_launch(stream, self._do, len(self._work) - 1) == 0

    def view(self, address: int, shape: tuple[int, ...], dtype: Any) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert self.library.fake_cuda_holds(address, size), f"{address:x} has no {size} bytes"
        held = (ctypes.c_uint8 * size).from_address(address)
        return np.frombuffer(held, dtype).reshape(shape)


class HostMemory(Object):
    table = "VHostMemory"

    def __init__(self, library: Library, content: bytes) -> None:
        self._content = ctypes.create_string_buffer(content, len(content))
        super().__init__(library)

    @virtual(Pointer)
    def data(self) -> int:
        return ctypes.addressof(self._content)

    @virtual(_Size)
    def size(self) -> int:
        return len(self._content)

    @virtual(_Number)
    def type(self) -> int:
        return _INT8


class Tensor(Object):
    table = "VTensor"

    def __init__(self, library: Library, name: str, shape: tuple[int, ...]) -> None:
        self._name, self._shape = _Name(name.encode()), shape
        super().__init__(library)

    @virtual(Pointer)
    def getName(self) -> Any:
        return ctypes.cast(self._name, Pointer).value

    @virtual(DIMS)
    def getDimensions(self) -> tuple[int, ...]:
        return self._shape


class Network(Object):
    table = "VNetworkDefinition"

    def __init__(self, library: Library, flags: int) -> None:
        self.flags = flags
        self.model = b""
        self.inputs: list[Tensor] = []
        super().__init__(library)

    @virtual(_Number)
    def getNbInputs(self) -> int:
        return len(self.inputs)

    @virtual(_Number)
    def getNbLayers(self) -> int:
        return 4

    @virtual(Pointer, _Number)
    def getInput(self, index: int) -> Tensor:
        return self.inputs[index]


class OptimizationProfile(Object):
    table = "VOptimizationProfile"

    def __init__(self, library: Library) -> None:
        self.batches: dict[int, int] = {}
        super().__init__(library)

    @virtual(_Yes, _Name, _Number, SHAPE)
    def setDimensions(self, name: bytes, which: int, shape: tuple[int, ...]) -> bool:
        self.batches[which] = shape[0]
        return True


class TimingCache(Object):
    table = "VTimingCache"

    def __init__(self, library: Library, content: bytes) -> None:
        self._content = content
        super().__init__(library)

    @virtual(Pointer)
    def serialize(self) -> HostMemory:
        return HostMemory(self.library, self._content + b"+timed")


class BuilderConfig(Object):
    table = "VBuilderConfig"

    def __init__(self, library: Library) -> None:
        self.flags: set[int] = set()
        self.set: dict[str, Any] = {}
        self.profile: OptimizationProfile | None = None
        self.timing: Object | None = None
        self.monitor = self.calibrator = 0
        super().__init__(library)

    @virtual(None, _Number)
    def setFlag(self, flag: int) -> None:
        self.flags.add(flag)

    @virtual(None, _Number)
    def clearFlag(self, flag: int) -> None:
        self.flags.discard(flag)

    @virtual(None, _Number, _Size)
    def setMemoryPoolLimit(self, pool: int, size: int) -> None:
        self.set[f"pool {pool}"] = size

    @virtual(_Number, Pointer)
    def addOptimizationProfile(self, profile: int) -> int:
        held = self.library.objects[profile]
        assert isinstance(held, OptimizationProfile)
        self.profile = held
        return 0

    @virtual(None, _Number)
    def setProfilingVerbosity(self, verbosity: int) -> None:
        self.set["verbosity"] = verbosity

    @virtual(None, _Number)
    def setBuilderOptimizationLevel(self, level: int) -> None:
        self.set["level"] = level

    @virtual(_Yes, _Number)
    def setHardwareCompatibilityLevel(self, level: int) -> bool:
        self.set["hardware"] = level
        return True

    @virtual(None, _Number, _Yes)
    def setPreviewFeature(self, feature: int, enabled: bool) -> None:
        self.set[f"preview {feature}"] = enabled

    @virtual(None, Pointer)
    def setInt8Calibrator(self, calibrator: int) -> None:
        self.calibrator = calibrator

    @virtual(_Yes, Pointer)
    def setCalibrationProfile(self, profile: int) -> bool:
        held = self.library.objects[profile]
        assert isinstance(held, OptimizationProfile)
        self.set["calibration profile"] = held.batches
        return True

    @virtual(_Yes, _Number)
    def setNbComputeCapabilities(self, count: int) -> bool:
        self.set["capabilities"] = count
        return True

    @virtual(_Yes, _Number, _Number)
    def setComputeCapability(self, capability: int, index: int) -> bool:
        return capability > 0 and index < int(self.set["capabilities"])

    @virtual(Pointer, Pointer, _Size)
    def createTimingCache(self, start: int, size: int) -> TimingCache:
        return TimingCache(self.library, ctypes.string_at(start, size) if size else b"")

    @virtual(_Yes, Pointer, _Yes)
    def setTimingCache(self, cache: int, ignore: bool) -> bool:
        assert not ignore
        self.timing = self.library.objects[cache]
        return True

    @virtual(Pointer)
    def getTimingCache(self) -> Object | None:
        return self.timing

    @virtual(Pointer)
    def getProgressMonitor(self) -> int:
        return self.monitor

    @virtual(None, Pointer)
    def setProgressMonitor(self, monitor: int) -> None:
        self.monitor = monitor


class Builder(Object):
    table = "VBuilder"

    def __init__(self, library: Library, logger: int) -> None:
        self._logger = logger
        super().__init__(library)

    @virtual(Pointer, ctypes.c_uint)
    def createNetworkV2(self, flags: int) -> Network:
        return Network(self.library, flags)

    @virtual(Pointer)
    def createBuilderConfig(self) -> BuilderConfig:
        return BuilderConfig(self.library)

    @virtual(Pointer)
    def createOptimizationProfile(self) -> OptimizationProfile:
        return OptimizationProfile(self.library)

    @virtual(Pointer, Pointer, Pointer)
    def buildSerializedNetwork(self, network: int, config: int) -> HostMemory | int:
        net, conf = self.library.objects[network], self.library.objects[config]
        assert isinstance(net, Network)
        assert isinstance(conf, BuilderConfig)
        if not net.model or conf.profile is None:
            return 0
        if conf.calibrator:
            self._calibrate(net, conf)
        self._progress(conf)
        low, best, high = (conf.profile.batches[which] for which in range(3))
        profile: Profile = (low, best, high)
        return HostMemory(self.library, make_plan(net.model, self.library.version, profile))

    def _calibrate(self, network: Network, config: BuilderConfig) -> None:
        """Take all slices as TensorRT does, unless ranges were kept; read each where it lies."""

        def call(method: str, result: Any, *words: Any) -> Any:
            table = "IInt8EntropyCalibrator2"
            return self.library.call(table, method, config.calibrator, result, *words)

        (image,) = network.inputs
        assert config.set["calibration profile"] == dict.fromkeys(range(3), 1)
        assert call("getBatchSize", _Number) == 1
        length = _Size()
        if call("readCalibrationCache", Pointer, (Pointer, ctypes.addressof(length))):
            return
        given, names = (Pointer * 1)(), (_Name * 1)(image.getName())
        words = [(Pointer, ctypes.addressof(each)) for each in (given, names)]
        sums = []
        while call("getBatch", _Yes, *words, (_Number, 1)):
            sums.append(int(DRIVER.view(given[0], (1, *image.getDimensions()[1:]), np.uint8).sum()))
        ranges = json.dumps(sums).encode()
        call("writeCalibrationCache", None, (_Name, ranges), (_Size, len(ranges)))

    def _progress(self, config: BuilderConfig) -> None:
        for layer in range(4):
            self.library.call(
                "ILogger", "log", self._logger, None, (_Number, _VERBOSE),
                (_Name, f"=== Computing costs for layer {layer}".encode()),
            )  # fmt: skip
        if config.monitor:
            name = (_Name, b"Building")
            steps: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
                ("phaseStart", None, (name, (_Name, None), (_Number, 2))),
                ("stepComplete", _Yes, (name, (_Number, 0))),
                ("phaseFinish", None, (name,)),
            )
            for method, result, words in steps:
                self.library.call("IProgressMonitor", method, config.monitor, result, *words)


class ParserError(Object):
    table, plain = "IParserError", True

    @virtual(_Number)
    def code(self) -> int:
        return 1

    @virtual(Pointer)
    def desc(self) -> Any:
        self._text = _Name(b"this is no ONNX model")
        return ctypes.cast(self._text, Pointer).value


class Parser(Object):
    table, plain = "IParser", True

    def __init__(self, library: Library, network: Network) -> None:
        self._network = network
        self._errors: list[ParserError] = []
        super().__init__(library)

    @virtual(_Yes, Pointer, _Size, _Name)
    def parse(self, start: int, size: int, _: bytes | None) -> bool:
        content = ctypes.string_at(start, size)
        try:
            engine = FakeEngine(make_plan(content, "", (1, 1, 1)), "")
        except Exception:
            self._errors.append(ParserError(self.library))
            return False
        self._network.model = content
        self._network.inputs = [
            Tensor(self.library, held.name, held.shape) for held in engine.tensors if held.is_input
        ]
        return True

    @virtual(_Number)
    def getNbErrors(self) -> int:
        return len(self._errors)

    @virtual(Pointer, _Number)
    def getError(self, index: int) -> ParserError:
        return self._errors[index]


class Runtime(Object):
    table = "VRuntime"
    _allowed = False

    @virtual(None, Pointer)
    def setErrorRecorder(self, recorder: int) -> None:
        self.library.recorder = recorder

    @virtual(_Yes)
    def getEngineHostCodeAllowed(self) -> bool:
        return self._allowed

    @virtual(None, _Yes)
    def setEngineHostCodeAllowed(self, allowed: bool) -> None:
        self._allowed = allowed

    @virtual(Pointer, Pointer, _Size)
    def deserializeCudaEngine(self, start: int, size: int) -> Object | int:
        try:
            return Engine(self.library, ctypes.string_at(start, size))
        except ValueError as error:
            self.library.report(2, str(error))
            return 0


class EngineInspector(Object):
    table = "VEngineInspector"

    @virtual(Pointer, _Number)
    def getEngineInformation(self, form: int) -> Any:
        self._text = _Name(json.dumps({"Layers": TRT_LAYERS}).encode())
        return ctypes.cast(self._text, Pointer).value


class Engine(Object):
    table = "VCudaEngine"

    def __init__(self, library: Library, plan: bytes) -> None:
        self.fake = FakeEngine(plan, library.version)
        self.users: dict[int, int] = {}  # stream by memory
        self.names = [_Name(tensor.name.encode()) for tensor in self.fake.tensors]
        super().__init__(library)

    def _tensor(self, name: bytes) -> Any:
        return self.fake.tensor(name.decode())

    @virtual(_Number)
    def getNbIOTensors(self) -> int:
        return len(self.names)

    @virtual(Pointer, _Number)
    def getIOTensorName(self, index: int) -> Any:
        return ctypes.cast(self.names[index], Pointer).value

    @virtual(DIMS, _Name)
    def getTensorShape(self, name: bytes) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._tensor(name).shape
        return shape

    @virtual(_Number, _Name)
    def getTensorDataType(self, name: bytes) -> int:
        return _TYPES[self._tensor(name).dtype]

    @virtual(_Number, _Name)
    def getTensorIOMode(self, name: bytes) -> int:
        return _INPUT if self._tensor(name).is_input else _OUTPUT

    @virtual(DIMS, _Name, _Number, _Number)
    def getProfileShape(self, name: bytes, _: int, which: int) -> tuple[int, ...]:
        return (self.fake.profile[which], *self._tensor(name).shape[1:])

    @virtual(_Size)
    def getDeviceMemorySize(self) -> int:
        return _ACTIVATIONS

    @virtual(ctypes.c_int64)
    def getDeviceMemorySizeV2(self) -> int:
        return _ACTIVATIONS

    @virtual(Pointer, _Number)
    def createExecutionContext(self, strategy: int) -> Object:
        if self.library.major > 8:
            assert strategy == 2, "the library would allocate memory of its own"
        return Context(self.library, self)

    @virtual(Pointer)
    def createExecutionContextWithoutDeviceMemory(self) -> Object:
        return Context(self.library, self)

    @virtual(Pointer)
    def createEngineInspector(self) -> EngineInspector:
        return EngineInspector(self.library)


class Context(Object):
    """An execution context. Two that share memory have to be kept apart by one stream."""

    table = "VExecutionContext"

    def __init__(self, library: Library, engine: Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self._memory = self._profiler = 0
        super().__init__(library)

    @virtual(Pointer)
    def getEngine(self) -> Engine:
        return self._engine

    @virtual(None, Pointer)
    def setErrorRecorder(self, recorder: int) -> None:
        self.library.recorder = recorder

    @virtual(None, Pointer)
    def setProfiler(self, profiler: int) -> None:
        self._profiler = profiler or 0

    @virtual(None, Pointer)
    def setDeviceMemory(self, memory: int) -> None:
        self._memory = memory

    @virtual(None, Pointer, ctypes.c_int64)
    def setDeviceMemoryV2(self, memory: int, size: int) -> None:
        assert DRIVER.library.fake_cuda_holds(memory, size)
        self._memory = memory

    @virtual(_Yes, _Name, Pointer)
    def setTensorAddress(self, name: bytes, address: int) -> bool:
        self._addresses[name.decode()] = address
        return self._engine.fake.tensor(name.decode()) is not None

    @virtual(_Yes, _Name, Pointer)
    def setInputShape(self, name: bytes, address: int) -> bool:
        shape = self.library.shape(address)
        if not self._engine.fake.takes(shape):
            self.library.report(2, f"{name.decode()}: {shape} is not within the profile")
            return False
        self._shape = shape
        return True

    @virtual(_Number, _Number, ctypes.POINTER(Pointer))
    def inferShapes(self, room: int, names: Any) -> int:
        if self._shape and "inferShapes" not in self.library.refuse:
            return 0
        self.library.report(2, "image: its shape is not known")
        names[0] = ctypes.cast(self._engine.names[0], Pointer).value
        return 1

    @virtual(_Yes, Pointer)
    def isStreamCapturable(self, stream: int) -> bool:
        return bool(self._shape and stream)

    @virtual(DIMS, _Name)
    def getTensorShape(self, name: bytes) -> tuple[int, ...]:
        tensor = self._engine.fake.tensor(name.decode())
        assert tensor is not None
        return self._shape[:1] + tensor.shape[1:]

    @virtual(_Yes, Pointer)
    def enqueueV3(self, stream: int) -> bool:
        engine = self._engine.fake
        for ready, what in (
            (self._shape, "a shape"), (self._memory, "memory"), (stream, "a stream of its own"),
            (len(self._addresses) == len(engine.tensors), "an address for every tensor"),
        ):  # fmt: skip
            if not ready:
                self.library.report(2, f"the context has not got {what}")
                return False
        assert self._engine.users.setdefault(self._memory, stream) == stream, (
            "two streams, one memory"
        )
        source, result = (self._addresses[tensor.name] for tensor in engine.tensors)
        shape = self._shape

        def compute() -> None:
            done = engine.compute(DRIVER.view(source, shape, np.uint8))
            np.copyto(DRIVER.view(result, done.shape, np.float32), done)

        if not DRIVER.launch(stream, compute):
            self.library.report(2, "the launch failed")
            return False
        if self._profiler:
            self.library.call(
                "IProfiler", "reportLayerTime", self._profiler, None,
                (_Name, b"conv1"), (ctypes.c_float, 0.5),
            )  # fmt: skip
        return True


DRIVER = Driver()
LIBRARY = Library(
    trt.__version__,
    json.loads(Path(os.environ["SCANSIDE_GPULAB_TABLES"]).read_text(encoding="utf-8")),
)
"""``SCANSIDE_GPULAB_TABLES`` is the file that ``probe.py`` wrote for this version."""
_installed: list[Any] = []


def install() -> Any:
    """Return the real bindings, with this below them; `LIBRARY` is what a test may look into."""
    library = LIBRARY
    nvinfer, parser = ctypes.CDLL(INFER), ctypes.CDLL(PARSER)

    def parsing(network: int) -> Parser:
        held = library.objects[network]
        assert isinstance(held, Network)
        return Parser(library, held)

    _hook(nvinfer, "createInferRuntime_INTERNAL", lambda *_: Runtime(library).address)
    _hook(nvinfer, "createInferBuilder_INTERNAL", lambda it, *_: Builder(library, it).address)
    _hook(parser, "createNvOnnxParser_INTERNAL", lambda it, *_: parsing(it).address)
    return trt


def _hook(library: Any, name: str, factory: Any) -> None:
    called = ctypes.CFUNCTYPE(Pointer, Pointer, Pointer, Pointer)(factory)
    _installed.append(called)
    Pointer.in_dll(library, f"hook_{name}").value = ctypes.cast(called, Pointer).value
