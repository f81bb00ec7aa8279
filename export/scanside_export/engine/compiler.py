"""From an ONNX file to a plan: one code path that asks the library what it has.

TensorRT 8.6 takes precisions from flags; TensorRT 10 takes types from the graph where it is
asked to, and 11 and TensorRT-RTX always do. What a version does not have is not asked of it, and
a setting that needs what is not there is an error.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scanside_export.engine.exchange import Built, Failed
from scanside_export.engine.implicit import calibrating, check_calibrators
from scanside_export.engine.layers import from_inspector, from_log
from scanside_export.engine.library import ChildError, has
from scanside_export.engine.tell import make_logger, make_monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside_export.engine.exchange import Event, Layer, Request, Settings

__all__ = ["compile_engine"]

_MIB: Final = 1 << 20
_HARDWARE: Final = {"same": "SAME_COMPUTE_CAPABILITY", "ampere+": "AMPERE_PLUS"}


class _Network(NamedTuple):
    """A parsed network; the parser owns weights that the network points to."""

    network: Any
    parser: Any
    typed: bool
    notes: tuple[str, ...]


def compile_engine(trt: Any, request: Request, tell: Callable[[Event], None]) -> Built:  # noqa: ANN401
    """Build an engine and write its plan.

    Parameters
    ----------
    trt
        The library.
    request
        What to build.
    tell
        Takes progress, warnings and errors.

    Returns
    -------
    Built
        What is known of the engine; the plan is in the request's file.

    Raises
    ------
    ChildError
        If the library refuses the model or a setting, or gives no engine.
    """
    settings = request.settings
    check_calibrators(trt, request)
    logger = make_logger(trt, tell)
    builder = trt.Builder(logger)
    made = _network(trt, builder, logger, request)
    config = _config(trt, builder, settings, typed=made.typed)
    _add_profile(builder, config, made.network, settings)
    timing = _timing_cache(config, request)
    monitor = make_monitor(trt, config, tell)
    if monitor is None:
        logger.follow(made.network.num_layers)
    with calibrating(trt, builder, config, made.network, request) as calibrated:
        started = time.monotonic()
        plan = builder.build_serialized_network(made.network, config)
        seconds = time.monotonic() - started
        notes = (*made.notes, *calibrated())
    if plan is None:
        raise _refused("model", "the builder gave no engine", logger.errors)
    content = bytes(plan)
    Path(request.plan).write_bytes(content)
    if timing:
        Path(request.timing).write_bytes(bytes(config.get_timing_cache().serialize()))
    layers, memory = from_log(logger.lines)
    if not layers:
        layers, memory = _inspect(trt, logger, content)
    return Built(
        seconds=seconds,
        strongly_typed=made.typed,
        layers=layers,
        memory=memory,
        notes=notes,
    )


def _network(trt: Any, builder: Any, logger: Any, request: Request) -> _Network:  # noqa: ANN401
    """Parse the typed graph where types can come from it, else the other with flags."""
    flags = trt.NetworkDefinitionCreationFlag
    first: list[str] = []
    if has(flags, "STRONGLY_TYPED") and request.calibration is None:
        network = builder.create_network(1 << int(flags.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if parser.parse(Path(request.typed).read_bytes()):
            return _Network(network, parser, typed=True, notes=())
        first = _parser_errors(parser)
        if not has(trt, "BuilderFlag", "INT8"):
            raise _refused("model", "the parser refuses the model", first)
    explicit = 1 << int(flags.EXPLICIT_BATCH) if has(flags, "EXPLICIT_BATCH") else 0
    network = builder.create_network(explicit)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(Path(request.flagged).read_bytes()):
        raise _refused("model", "the parser refuses the model", _parser_errors(parser))
    notes = (
        "the parser refuses the typed graph, so precisions come from flags and the library"
        f" chooses among them: {'; '.join(first)}",
    )
    return _Network(network, parser, typed=False, notes=notes if first else ())


def _config(trt: Any, builder: Any, settings: Settings, *, typed: bool) -> Any:  # noqa: ANN401
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = settings.level
    pools = {"WORKSPACE": settings.workspace, "TACTIC_DRAM": settings.tactic_dram}
    for name, limit in pools.items():
        if limit is not None:
            config.set_memory_pool_limit(getattr(trt.MemoryPoolType, name), limit * _MIB)
    if has(trt, "PreviewFeature", "PROFILE_SHARING_0806") and has(config, "set_preview_feature"):
        # The backend has a context for each buffer, and the engine one profile for all of them.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)  # noqa: FBT003
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if not typed:
        for name in _flags(settings):
            config.set_flag(getattr(trt.BuilderFlag, name))
    _set_compatibility(trt, config, settings)
    return config


def _flags(settings: Settings) -> tuple[str, ...]:
    """Return the flags that allow a precision where types don't come from the graph."""
    if settings.precision == "int8":
        return ("INT8",) if settings.rest == "fp32" else ("INT8", "FP16")
    return ("FP16",) if settings.precision == "fp16" else ()


def _set_compatibility(trt: Any, config: Any, settings: Settings) -> None:  # noqa: ANN401
    if settings.version_compatible:
        config.set_flag(_asked(trt, "BuilderFlag", "VERSION_COMPATIBLE"))
    if settings.hardware != "none":
        level = _HARDWARE[settings.hardware]
        config.hardware_compatibility_level = _asked(trt, "HardwareCompatibilityLevel", level)
    if settings.capabilities:
        _set_capabilities(trt, config, settings.capabilities)


def _set_capabilities(trt: Any, config: Any, capabilities: tuple[str, ...]) -> None:  # noqa: ANN401
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        value = _asked(trt, "ComputeCapability", f"SM{capability.replace('.', '')}")
        if not config.set_compute_capability(value, number):
            raise _refused("backend", f"the library refuses compute capability {capability}", [])


def _asked(trt: Any, owner: str, name: str) -> Any:  # noqa: ANN401
    """Return what a setting needs; a version that lacks it says so."""
    if not has(trt, owner, name):
        held = getattr(trt, owner, None)
        there = sorted(getattr(held, "__members__", {}))
        raise ChildError(
            Failed(
                kind="backend",
                given=f"version {trt.__version__} of the library has no {owner}.{name}",
                remedy=f"leave the option out; this version has {', '.join(there) or 'none'}",
            )
        )
    return getattr(getattr(trt, owner), name)


def _add_profile(builder: Any, config: Any, network: Any, settings: Settings) -> None:  # noqa: ANN401
    """Give every input the smallest, best and largest batch."""
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise _refused("model", f"input {tensor.name} has the shape {shape}", [])
        if shape[0] == -1:
            profile.set_shape(tensor.name, *((batch, *shape[1:]) for batch in settings.profile))
    if config.add_optimization_profile(profile) < 0:
        raise _refused("backend", f"the library refuses the profile {settings.profile}", [])


def _timing_cache(config: Any, request: Request) -> bool:  # noqa: ANN401
    """Start from the kept timing cache; ahead of time nothing is timed."""
    if request.settings.target == "rtx":
        return False
    kept = Path(request.timing)
    held = kept.read_bytes() if kept.exists() else b""
    # One of another version or device is refused: an empty one takes its place.
    for start in (held, b""):
        cache = config.create_timing_cache(start)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return True
    return False


def _inspect(trt: Any, logger: Any, plan: bytes) -> tuple[tuple[Layer, ...], dict[str, int]]:  # noqa: ANN401
    """Ask the engine itself, on the device that built it."""
    runtime = trt.Runtime(logger)
    if has(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True  # this process has built it just now
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise _refused("backend", "the new engine can't be loaded", logger.errors)
    memory = {"plan": len(plan)}
    for name in ("device_memory_size_v2", "device_memory_size"):
        if has(engine, name):
            memory["activations"] = int(getattr(engine, name))
            break
    inspector = engine.create_engine_inspector()
    if inspector is None:
        return (), memory
    return from_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON)), memory


def _parser_errors(parser: Any) -> list[str]:  # noqa: ANN401
    """Return what the parser found, by the node where the version names it."""
    found = []
    for number in range(parser.num_errors):
        error = parser.get_error(number)
        where = ""
        if has(error, "node_name"):
            where = f"{error.node_operator()} {error.node_name()}: "
        found.append(f"{where}{error.desc().splitlines()[0] if error.desc() else error.code()}")
    return found


def _refused(kind: str, given: str, errors: list[str]) -> ChildError:
    said = "; ".join(errors[:5])
    remedies = {
        "model": "export the bundle again, or take another --precision",
        "backend": "take other options, or another version of the library",
    }
    return ChildError(
        Failed(
            kind="model" if kind == "model" else "backend",
            given=f"{given}: {said}" if said else given,
            remedy=remedies[kind],
        )
    )
