"""The builder's side of TensorRT's Python API, readable, in the shape of several versions.

It parses nothing and compiles nothing: a plan is the model's bytes with what was asked for in
front. What matters is what a caller may touch: a name that a version does not have raises
AttributeError as the real bindings do, and `touched` collects what was used, by class, so that
a test can hold it against the real bindings of each version.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

VERSIONS = (
    "8.6.1", "10.0.1", "10.3.0", "10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106", "rtx",
)  # fmt: skip
"""TensorRT from its first to its last of every kind that is built for, and TensorRT-RTX."""

RTX_VERSION = "1.7.1.116"

TRT_LAYERS = [
    {
        "Name": "conv1 + relu", "LayerType": "CaskConvolution", "ParameterType": "Convolution",
        "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
        "Outputs": [{"Format/Datatype": "Row major linear FP16 format"}],
        "TacticName": "sm80_xmma_fprop", "Metadata": "[ONNX Layer: conv1]\x1e[ONNX Layer: relu]",
    },
    {
        "Name": "conv2", "LayerType": "CaskConvolution", "ParameterType": "Convolution",
        "Inputs": [{"Format/Datatype": "Row major linear FP32"}],
        "Outputs": [{"Format/Datatype": "Row major linear FP32"}],
        "TacticName": "sm80_xmma_sgemm", "Metadata": "[ONNX Layer: conv2]",
    },
]  # fmt: skip

RTX_LINE = (
    "Name: {name}_myl0_1, LayerType: correlation, Inputs: [ {{ Name: x, Dimensions: [-1,3,8,8],"
    " Strides: [1,1,1,1], Datatype: Int8, Format: (NHWC) Channel major format }}], Constants:"
    " [ {{ Name: w, Dimensions: [1], Datatype: Float }}], Outputs: [ {{ Name: y, Dimensions:"
    " [-1,3,8,8], Datatype: Half, Format: (NHWC) }}], TacticName: stub, StreamId: 0, Metadata:"
    " [ONNX Layer: {name}][ONNX Layer: relu]"
)


class Enumeration:
    """Named numbers."""

    def __init__(self, *names: str) -> None:
        self.__members__ = {name: number for number, name in enumerate(names)}

    def __getattr__(self, name: str) -> int:
        try:
            return self.__dict__["__members__"][name]
        except KeyError:
            raise AttributeError(name) from None


def make(  # noqa: C901 - one library, many small classes
    version: str, *, refuse_typed: bool = False, fail: str = ""
) -> Any:
    """Return a module.

    Parameters
    ----------
    version
        One of `VERSIONS`.
    refuse_typed
        Whether the parser refuses strongly typed networks.
    fail
        ``parse``, ``calibrate`` or ``build``: what does not succeed.
    """
    rtx = version == "rtx"
    major = 11 if rtx else int(version.partition(".")[0])
    touched: set[tuple[str, str]] = set()
    asked: dict[str, Any] = {"flags": set(), "pools": {}, "profile": {}, "capabilities": {}}

    class Recorded:
        """Notes every public name of itself that is read, set or called."""

        def __getattribute__(self, name: str) -> Any:
            found = object.__getattribute__(self, name)
            if not name.startswith("_"):
                touched.add((type(self).__name__, name))
            return found

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                touched.add((type(self).__name__, name))
                getattr(type(self), name)  # what a version lacks can't be set
                asked[name] = value
            object.__setattr__(self, name, value)

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def log(self, level: int, text: str) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        pass

    class ParserError(Recorded):
        def desc(self) -> str:
            return "the fake refuses it\nat some line"

        def code(self) -> int:
            return 1

        if major > 8:

            def node_name(self) -> str:
                return "conv1"

            def node_operator(self) -> str:
                return "Conv"

    class ITensor(Recorded):
        name = "image"
        shape = (-1, 256, 256, 3)

    class INetworkDefinition(Recorded):
        num_inputs = 1
        num_layers = 4
        _model = b""
        _typed = False

        def get_input(self, index: int) -> ITensor:
            assert index == 0
            return ITensor()

    class IInt8EntropyCalibrator2:
        def __init__(self) -> None:
            self._made = True  # a subclass that does not call it has no C++ object

    class OnnxParser(Recorded):
        num_errors = 1

        def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
            assert isinstance(logger, ILogger)
            self._network = network

        def parse(self, model: bytes) -> bool:
            self._network._model = model
            return fail != "parse" and not (refuse_typed and self._network._typed)

        def get_error(self, index: int) -> ParserError:
            assert index == 0
            return ParserError()

    class ITimingCache(Recorded):
        _held = b""

        def serialize(self) -> bytes:
            return self._held + b"+timed"

    class IBuilderConfig(Recorded):
        profiling_verbosity = 0
        builder_optimization_level = 3
        hardware_compatibility_level = 0
        _cache = ITimingCache()
        if major > 8:
            progress_monitor: Any = None
        if major < 11:
            int8_calibrator: Any = None

            def set_calibration_profile(self, profile: Any) -> bool:
                asked["calibration profile"] = dict(asked["profile"])
                return isinstance(profile, IOptimizationProfile)

        if rtx:
            num_compute_capabilities = 0

            def set_compute_capability(self, value: int, index: int) -> bool:
                asked["capabilities"][index] = value
                return index < self.num_compute_capabilities

        def set_flag(self, flag: int) -> None:
            asked["flags"].add(
                next(n for n, v in module.BuilderFlag.__members__.items() if v == flag)
            )

        if major < 11:

            def set_preview_feature(self, feature: int, enable: bool) -> None:  # noqa: FBT001
                assert enable
                asked["preview"] = feature

        def clear_flag(self, flag: int) -> None:
            assert flag in module.BuilderFlag.__members__.values()
            asked["flags"].discard(flag)

        def set_memory_pool_limit(self, pool: int, size: int) -> None:
            asked["pools"][pool] = size

        def add_optimization_profile(self, profile: Any) -> int:
            return 0 if isinstance(profile, IOptimizationProfile) and asked["profile"] else -1

        def create_timing_cache(self, held: bytes) -> ITimingCache:
            cache = ITimingCache()
            cache._held = held
            return cache

        def set_timing_cache(self, cache: ITimingCache, *, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False
            self._cache = cache
            return cache._held != b"of another version"

        def get_timing_cache(self) -> ITimingCache:
            return self._cache

    class IOptimizationProfile(Recorded):
        def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
            asked["profile"][name] = (low, best, high)

    def calibrate(calibrator: Any) -> None:
        """Take slices as TensorRT does: all there are, unless ranges were kept."""
        assert calibrator._made
        assert calibrator.get_batch_size() == 1
        asked["slices"] = []
        if calibrator.read_calibration_cache() is not None:
            return
        while (given := calibrator.get_batch(["image"])) is not None:
            asked["slices"] += given
            if fail == "calibrate" and len(asked["slices"]) == 2:
                break
        calibrator.write_calibration_cache(b"TRT-ranges")

    class Builder(Recorded):
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            asked["network"] = flags
            network = INetworkDefinition()
            network._typed = major > 8 and bool(
                flags >> module.NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1
            )
            return network

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            self._logger.log(ILogger.WARNING, "the fake warns")
            if fail == "build":
                self._logger.log(ILogger.ERROR, "out of tactics")
                return None
            if major < 11 and config.int8_calibrator is not None:
                calibrate(config.int8_calibrator)
            monitor = config.progress_monitor if major > 8 else None
            if monitor is not None:
                monitor.phase_start("Building", None, 2)
                assert monitor.step_complete("Building", 0)
                monitor.phase_finish("Building")
            for layer in range(network.num_layers):
                self._logger.log(ILogger.VERBOSE, f"=== Computing costs for layer {layer}")
            if rtx:
                self._logger.log(
                    ILogger.VERBOSE, "\n".join(RTX_LINE.format(name=n) for n in ("conv1", "conv2"))
                )
                self._logger.log(ILogger.INFO, "Total Activation Memory: 4096 bytes")
            return b"PLAN" + network._model

    class EngineInspector(Recorded):
        def get_engine_information(self, form: int) -> str:
            assert form == module.LayerInformationFormat.JSON
            return json.dumps({"Layers": TRT_LAYERS})

    class ICudaEngine(Recorded):
        if major in {8, 10}:
            device_memory_size = 2048
        if version not in {"8.6.1", "10.0.1"}:
            device_memory_size_v2 = 2048

        def create_engine_inspector(self) -> EngineInspector:
            return EngineInspector()

    class Runtime(Recorded):
        engine_host_code_allowed = False

        def __init__(self, logger: ILogger) -> None:
            assert isinstance(logger, ILogger)

        def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
            return ICudaEngine() if plan.startswith(b"PLAN") else None

    flags = ["TF32", "VERSION_COMPATIBLE"] + (["FP16", "INT8"] if major < 11 else [])
    network_flags = (["EXPLICIT_BATCH"] if major < 11 else []) + (
        ["STRONGLY_TYPED"] if major > 8 else []
    )
    levels = ["NONE", "AMPERE_PLUS"] + (
        ["SAME_COMPUTE_CAPABILITY"] if version not in {"8.6.1", "10.0.1", "10.3.0"} else []
    )
    module = SimpleNamespace(
        __version__=RTX_VERSION if rtx else version,
        Builder=Builder,
        BuilderFlag=Enumeration(*flags),
        HardwareCompatibilityLevel=Enumeration(*levels),
        ILogger=ILogger,
        LayerInformationFormat=Enumeration("ONELINE", "JSON"),
        MemoryPoolType=Enumeration("WORKSPACE", "TACTIC_DRAM"),
        NetworkDefinitionCreationFlag=Enumeration(*network_flags),
        OnnxParser=OnnxParser,
        ProfilingVerbosity=Enumeration("NONE", "DETAILED"),
        Runtime=Runtime,
        touched=touched,
        asked=asked,
    )
    if major < 11:
        module.PreviewFeature = Enumeration("PROFILE_SHARING_0806")
    if major > 8:
        module.IProgressMonitor = IProgressMonitor
    if major < 11:
        module.IInt8EntropyCalibrator2 = IInt8EntropyCalibrator2
    if rtx:
        module.ComputeCapability = Enumeration("NONE", "SM75", "SM80", "SM86", "SM89", "SM120")
    return module
