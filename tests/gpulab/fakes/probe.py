"""Learn where the methods of TensorRT's interfaces lie in their virtual tables.

``python probe.py OUT.json`` with the bindings of one version on the path and the empty libraries of
``nvinfer.c`` for their loader. The bindings are given objects whose every virtual function writes
down its own number; each Python method is called in a forked child (the call may well crash there),
and the number that was written first is the method's. Interfaces that Python implements are found
the other way round: their functions are called one after the other until the Python method is.

x86-64 Linux. Nothing of NVIDIA's but the bindings is used.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bindings import INFER, PARSER, trt

if TYPE_CHECKING:
    from collections.abc import Callable

SLOTS = 160
HITS = 400
MEMORY = 2 << 30
SECONDS = 10
"""That a child may take: one that runs away has written its numbers down before."""
Pointer = ctypes.c_void_p

_shared = mmap.mmap(-1, 4096)
_written = (ctypes.c_int32 * 1024).from_buffer(_shared)
"""How often a virtual function was called, then object and slot of each call; shared with the
children."""
_kept: list[Any] = []
_returned: dict[int, int] = {}
"""What all functions of an object return: the address of another one."""


def note(number: int, slot: int) -> None:
    count = _written[0]
    if count < HITS:
        _written[1 + 2 * count], _written[2 + 2 * count] = number, slot
        _written[0] = count + 1


def recording(number: int) -> int:
    """Return the address of an object that writes down which of its functions is called."""

    def function(slot: int) -> Any:
        def called(*_: Any) -> int:
            note(number, slot)
            return _returned.get(number, 0)

        return ctypes.CFUNCTYPE(Pointer, *[Pointer] * 6)(called)

    functions = [function(slot) for slot in range(SLOTS)]
    # Before a table stand the offset to the whole object and its type, here none.
    table = (Pointer * (SLOTS + 2))(None, None, *[ctypes.cast(f, Pointer) for f in functions])
    start = ctypes.addressof(table) + 16
    inner = (Pointer * 1)(start)
    outer = (Pointer * 2)(start, ctypes.addressof(inner))
    _kept.extend([functions, table, inner, outer])
    return ctypes.addressof(outer)


NAMES = (
    "VRuntime", "VCudaEngine", "VExecutionContext", "VBuilder", "VNetworkDefinition", "VTensor",
    "VBuilderConfig", "VOptimizationProfile", "VHostMemory", "VTimingCache", "VEngineInspector",
    "IParser", "IParserError",
)  # fmt: skip
NUMBERS = {name: number for number, name in enumerate(NAMES)}
OBJECTS = {name: recording(number) for name, number in NUMBERS.items()}
LOGGER = trt.Logger()


def gives(name: str, other: str) -> None:
    """Let every function of an object return another object."""
    _returned[NUMBERS[name]] = OBJECTS[other]


def hook(library: str, factory: str, name: str) -> None:
    """Let a factory of the empty libraries give an object."""
    called = ctypes.CFUNCTYPE(Pointer, Pointer, Pointer, Pointer)(lambda *_: OBJECTS[name])
    _kept.append(called)
    held = ctypes.CDLL(library)
    Pointer.in_dll(held, f"hook_{factory}").value = ctypes.cast(called, Pointer).value


def runtime() -> Any:
    return trt.Runtime(LOGGER)


def engine() -> Any:
    gives("VRuntime", "VCudaEngine")
    return runtime().deserialize_cuda_engine(b"x")


def context() -> Any:
    gives("VCudaEngine", "VExecutionContext")
    gives("VExecutionContext", "VCudaEngine")
    return engine().create_execution_context()


def builder() -> Any:
    return trt.Builder(LOGGER)


def network() -> Any:
    gives("VBuilder", "VNetworkDefinition")
    return builder().create_network(0)


def config() -> Any:
    gives("VBuilder", "VBuilderConfig")
    return builder().create_builder_config()


def profile() -> Any:
    gives("VBuilder", "VOptimizationProfile")
    return builder().create_optimization_profile()


def tensor() -> Any:
    gives("VNetworkDefinition", "VTensor")
    return network().get_input(0)


def everything() -> tuple[Any, Any, Any]:
    return builder(), network(), config()


def plan() -> Any:
    build, net, conf = everything()
    gives("VBuilder", "VHostMemory")
    return build.build_serialized_network(net, conf)


def timing() -> Any:
    conf = config()
    gives("VBuilderConfig", "VTimingCache")
    return conf.create_timing_cache(b"")


def config_and_timing() -> tuple[Any, Any]:
    held = timing()
    return config(), held


def inspector() -> Any:
    held = engine()
    gives("VCudaEngine", "VEngineInspector")
    return held.create_engine_inspector()


def parser() -> Any:
    return trt.OnnxParser(network(), LOGGER)


def parser_error() -> Any:
    held = parser()
    gives("IParser", "IParserError")
    return held.get_error(0)


PYTHON = -1
"""In place of an object's number, for a method that Python implements; what it is stands beside."""


class Recorder(trt.IErrorRecorder):
    def __init__(self) -> None:
        trt.IErrorRecorder.__init__(self)

    def report_error(self, code: Any, text: str) -> bool:
        note(PYTHON, 0)
        return True


class Profiler(trt.IProfiler):
    def __init__(self) -> None:
        trt.IProfiler.__init__(self)

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        note(PYTHON, 0)


class Logger(trt.ILogger):
    def __init__(self) -> None:
        trt.ILogger.__init__(self)

    def log(self, level: Any, text: str) -> None:
        note(PYTHON, 0)


class Monitor(getattr(trt, "IProgressMonitor", object)):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        note(PYTHON, 0)

    def step_complete(self, phase_name: str, step: int) -> bool:
        note(PYTHON, 1)
        return True

    def phase_finish(self, phase_name: str) -> None:
        note(PYTHON, 2)


class Calibrator(getattr(trt, "IInt8EntropyCalibrator2", object)):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()

    def get_batch_size(self) -> int:
        note(PYTHON, 0)
        return 1

    def get_batch(self, names: list[str]) -> list[int] | None:
        note(PYTHON, 1)
        return None

    def read_calibration_cache(self) -> bytes | None:
        note(PYTHON, 2)
        return None

    def write_calibration_cache(self, cache: Any) -> None:
        note(PYTHON, 3)


RECORDER, PROFILER, MONITOR, CALIBRATOR = Recorder(), Profiler(), Monitor(), Calibrator()
DIMS = trt.Dims([1])


def put(name: str, value: Any) -> Callable[[Any], None]:
    return lambda held: setattr(held, name, value)


def get(name: str) -> Callable[[Any], Any]:
    return lambda held: getattr(held, name)


def call(name: str, *words: Any) -> Callable[[Any], Any]:
    return lambda held: getattr(held, name)(*words)


def enumerated(owner: str, name: str) -> Any:
    return getattr(getattr(trt, owner, None), name, None)


def infer_shapes(held: Any) -> None:
    _returned.pop(NUMBERS["VCudaEngine"])  # its engine says that it has no tensors
    held.infer_shapes()


CALLS: dict[str, tuple[Callable[[], Any], dict[str, Callable[[Any], Any]]]] = {
    "VRuntime": (runtime, {
        "deserializeCudaEngine": call("deserialize_cuda_engine", b"x"),
        "setErrorRecorder": put("error_recorder", RECORDER),
        "getEngineHostCodeAllowed": get("engine_host_code_allowed"),
        "setEngineHostCodeAllowed": put("engine_host_code_allowed", True),
    }),
    "VCudaEngine": (engine, {
        "getNbIOTensors": get("num_io_tensors"),
        "getIOTensorName": call("get_tensor_name", 0),
        "getTensorShape": call("get_tensor_shape", "x"),
        "getTensorDataType": call("get_tensor_dtype", "x"),
        "getTensorIOMode": call("get_tensor_mode", "x"),
        "getProfileShape": call("get_tensor_profile_shape", "x", 0),
        "getDeviceMemorySize": get("device_memory_size"),
        "getDeviceMemorySizeV2": get("device_memory_size_v2"),
        "createExecutionContext": call("create_execution_context"),
        "createExecutionContextWithoutDeviceMemory":
            call("create_execution_context_without_device_memory"),
        "createEngineInspector": call("create_engine_inspector"),
    }),
    "VExecutionContext": (context, {
        "getEngine": get("engine"),
        "setInputShape": call("set_input_shape", "x", DIMS),
        "getTensorShape": call("get_tensor_shape", "x"),
        "setTensorAddress": call("set_tensor_address", "x", 1),
        "enqueueV3": call("execute_async_v3", 0),
        "inferShapes": infer_shapes,
        "setDeviceMemory": put("device_memory", 4096),
        "setDeviceMemoryV2": call("set_device_memory", 4096, 1),
        "setErrorRecorder": put("error_recorder", RECORDER),
        "setProfiler": put("profiler", PROFILER),
        "isStreamCapturable": call("is_stream_capturable", 1),
    }),
    "VBuilder": (builder, {
        "createNetworkV2": call("create_network", 0),
        "createBuilderConfig": call("create_builder_config"),
        "createOptimizationProfile": call("create_optimization_profile"),
    }),
    "VBuilder ": (everything, {
        "buildSerializedNetwork": lambda held: held[0].build_serialized_network(held[1], held[2]),
    }),
    "VNetworkDefinition": (network, {
        "getNbInputs": get("num_inputs"),
        "getNbLayers": get("num_layers"),
        "getInput": call("get_input", 0),
    }),
    "VTensor": (tensor, {"getName": get("name"), "getDimensions": get("shape")}),
    "VBuilderConfig": (config, {
        "setFlag": call("set_flag", trt.BuilderFlag.DEBUG),
        "clearFlag": call("clear_flag", trt.BuilderFlag.DEBUG),
        "setMemoryPoolLimit": call("set_memory_pool_limit", trt.MemoryPoolType.WORKSPACE, 1),
        "addOptimizationProfile": lambda held: held.add_optimization_profile(profile()),
        "setProfilingVerbosity": put("profiling_verbosity", trt.ProfilingVerbosity.DETAILED),
        "setBuilderOptimizationLevel": put("builder_optimization_level", 3),
        "setHardwareCompatibilityLevel":
            put("hardware_compatibility_level", trt.HardwareCompatibilityLevel.AMPERE_PLUS),
        "setPreviewFeature":
            call("set_preview_feature", enumerated("PreviewFeature", "PROFILE_SHARING_0806"), True),
        "setInt8Calibrator": put("int8_calibrator", CALIBRATOR),
        "setCalibrationProfile": lambda held: held.set_calibration_profile(profile()),
        "setNbComputeCapabilities": put("num_compute_capabilities", 1),
        "setComputeCapability":
            call("set_compute_capability", enumerated("ComputeCapability", "SM86"), 0),
        "createTimingCache": call("create_timing_cache", b""),
        "getTimingCache": call("get_timing_cache"),
        "getProgressMonitor": get("progress_monitor"),
        "setProgressMonitor": put("progress_monitor", MONITOR),
    }),
    "VBuilderConfig ": (config_and_timing, {
        "setTimingCache": lambda held: held[0].set_timing_cache(held[1], ignore_mismatch=False),
    }),
    "VOptimizationProfile": (profile, {"setDimensions": call("set_shape", "x", DIMS, DIMS, DIMS)}),
    "VHostMemory": (plan, {"size": get("nbytes"), "type": get("dtype"), "data": memoryview}),
    "VTimingCache": (timing, {"serialize": call("serialize")}),
    "VEngineInspector": (inspector, {
        "getEngineInformation":
            call("get_engine_information", trt.LayerInformationFormat.JSON),
    }),
    "IParser": (parser, {
        "parse": call("parse", b"x"),
        "getNbErrors": get("num_errors"),
        "getError": call("get_error", 0),
    }),
    "IParserError": (parser_error, {"code": call("code"), "desc": call("desc")}),
}  # fmt: skip


def in_child(work: Callable[[], None]) -> list[tuple[int, int]]:
    """Run something that may crash; return the calls that were written down."""
    _written[0] = 0
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # What it is given as a number of things may be an address.
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return [(_written[1 + 2 * n], _written[2 + 2 * n]) for n in range(_written[0])]


def slots_hit(name: str, make: Callable[[], Any], use: Callable[[Any], Any]) -> list[int]:
    """Return the functions of an object that a Python method calls, without destructors."""

    def work() -> None:
        held = make()
        _written[0] = 0
        use(held)

    destructors = 2 if name.startswith("V") else 0
    return [slot for number, slot in in_child(work)
            if number == NUMBERS[name] and slot >= destructors]  # fmt: skip


def given_to(name: str, slot: int, attach: Callable[[], Any]) -> int:
    """Return the address of the object of Python's that a function of an object is given."""
    found: list[int] = []
    taking = ctypes.CFUNCTYPE(Pointer, Pointer, Pointer)(lambda _, it: (found.append(it), 0)[1])
    table = ctypes.cast(OBJECTS[name], ctypes.POINTER(ctypes.POINTER(Pointer)))[0]
    before = table[slot]
    table[slot] = ctypes.cast(taking, Pointer).value
    attach()
    table[slot] = before
    return found[-1]


def logger_given() -> int:
    """Return the address of a logger of Python's."""
    held, found = Logger(), []
    taking = ctypes.CFUNCTYPE(Pointer, Pointer, Pointer, Pointer)(
        lambda logger, *_: (found.append(logger), OBJECTS["VRuntime"])[1]
    )
    library = ctypes.CDLL(INFER)
    hooked = Pointer.in_dll(library, "hook_createInferRuntime_INTERNAL")
    before = hooked.value
    hooked.value = ctypes.cast(taking, Pointer).value
    trt.Runtime(held)
    hooked.value = before
    _kept.append(held)
    return found[-1]


def python_slots(find: Callable[[], int], methods: list[str], *kinds: Any) -> dict[str, int]:
    """Find the functions that Python implements, by calling one after the other."""
    names = (ctypes.c_char_p * 2)(b"probe", b"probe")
    words = {
        ctypes.c_int: 2, ctypes.c_float: 7.0, ctypes.c_char_p: b"probe",
        Pointer: ctypes.addressof(names),
    }  # fmt: skip
    found: dict[str, int] = {}
    for slot in range(12):

        def work(slot: int = slot) -> None:
            address = find()
            table = ctypes.cast(address, ctypes.POINTER(ctypes.POINTER(Pointer)))[0]
            _written[0] = 0
            ctypes.CFUNCTYPE(ctypes.c_bool, Pointer, *kinds)(table[slot])(
                address, *(words[kind] for kind in kinds)
            )

        for number, which in in_child(work):
            if number == PYTHON:
                found.setdefault(methods[which], slot)
    return found


def main() -> None:
    hook(INFER, "createInferRuntime_INTERNAL", "VRuntime")
    hook(INFER, "createInferBuilder_INTERNAL", "VBuilder")
    hook(PARSER, "createNvOnnxParser_INTERNAL", "IParser")
    tables: dict[str, dict[str, int]] = {}
    for named, (make, uses) in CALLS.items():
        name = named.strip()
        found = tables.setdefault(name, {})
        for method, use in uses.items():
            hits = slots_hit(name, make, use)
            if method == "inferShapes":  # asks for the engine first, to ask that for its tensors
                hits = [slot for slot in hits if slot != found["getEngine"]]
            if hits:
                found[method] = hits[-1] if method == "data" else hits[0]

    def given(name: str, setter: str, attach: Callable[[], Any]) -> Callable[[], int]:
        return lambda: given_to(name, tables[name][setter], attach)

    text, number, real = ctypes.c_char_p, ctypes.c_int, ctypes.c_float
    tables["ILogger"] = python_slots(logger_given, ["log"], number, text)
    tables["IErrorRecorder"] = python_slots(
        given("VRuntime", "setErrorRecorder", lambda: put("error_recorder", RECORDER)(runtime())),
        ["reportError"], number, text,
    )  # fmt: skip
    tables["IProfiler"] = python_slots(
        given("VExecutionContext", "setProfiler", lambda: put("profiler", PROFILER)(context())),
        ["reportLayerTime"], text, real,
    )  # fmt: skip
    if "setProgressMonitor" in tables["VBuilderConfig"]:
        attach = lambda: put("progress_monitor", MONITOR)(config())  # noqa: E731
        tables["IProgressMonitor"] = python_slots(
            given("VBuilderConfig", "setProgressMonitor", attach),
            ["phaseStart", "stepComplete", "phaseFinish"], text, text, number,
        )  # fmt: skip
    if "setInt8Calibrator" in tables["VBuilderConfig"]:
        attach = lambda: put("int8_calibrator", CALIBRATOR)(config())  # noqa: E731
        tables["IInt8EntropyCalibrator2"] = python_slots(
            given("VBuilderConfig", "setInt8Calibrator", attach),
            ["getBatchSize", "getBatch", "readCalibrationCache", "writeCalibrationCache"],
            Pointer, Pointer, number,
        )  # fmt: skip
    Path(sys.argv[1]).write_text(json.dumps(tables, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
