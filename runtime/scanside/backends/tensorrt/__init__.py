"""The ``tensorrt`` backend: engines that `scanside build` made for this device."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from scanside.backends.tensorrt.backend import TensorRTBackend
from scanside.backends.tensorrt.device import Device
from scanside.backends.tensorrt.library import load_libraries, unavailable
from scanside.contract import ROLES
from scanside.engines import Wanted, engine_folder, find_engine, read_engine
from scanside.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.backends.tensorrt.library import Libraries
    from scanside.bundle import Bundle
    from scanside.contract import ModelFile, Precision, Role
    from scanside.enginematch import Runtime
    from scanside.engines import Sidecar

__all__ = ["TensorRTBackend", "load", "unavailable"]


def load(
    bundle: Bundle,
    precision: Precision,
    *,
    lanes: int = 1,
    runtime: Runtime = "tensorrt",
    libraries: Libraries | None = None,
) -> TensorRTBackend:
    """Load the engines of both models of a bundle.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        One of the bundle's precisions.
    lanes
        Number of callers at once.
    runtime
        TensorRT or TensorRT-RTX.
    libraries
        To compute with; none for those that are installed.

    Raises
    ------
    ExtraNotInstalledError
        If TensorRT or PyCUDA is not installed.
    BackendError
        If there is no device, or it fails, or has too little memory.
    EngineError
        If there is no engine for this model, device and version, or it is damaged. Nothing is
        built here.
    BundleError
        If the bundle does not hold the precision.
    """
    libraries = libraries or load_libraries(runtime)
    models = {role: bundle.model(role, precision) for role in ROLES}
    device = Device(libraries)
    try:
        folder = engine_folder()
        engines: dict[Role, tuple[bytes, Sidecar]] = {}
        for role, model in models.items():
            wanted = Wanted(
                model_sha256=model.sha256,
                runtime=runtime,
                runtime_version=str(libraries.trt.__version__),
                gpu_name=device.name,
                compute_capability=device.capability,
                precision=precision,
            )
            floating = bundle.manifest.models[role].get("fp32")
            engines[role] = read_engine(folder, _found(folder, wanted, floating).key)
        return TensorRTBackend(
            libraries,
            device,
            engines,
            name=runtime.replace("_", "-"),
            precision=precision,
            lanes=lanes,
        )
    except BaseException:
        device.close()
        raise


def _found(folder: Path, wanted: Wanted, floating: ModelFile | None) -> Sidecar:
    """Return the engine of a model; for INT8, else one whose ranges TensorRT chose itself.

    ``scanside build --implicit-int8`` makes those from the FP32 model; the bundle's INT8 model is
    what they are verified by.
    """
    try:
        return find_engine(folder, wanted)
    except EngineError:
        if wanted.precision == "int8" and floating is not None:
            with suppress(EngineError):
                return find_engine(folder, wanted._replace(model_sha256=floating.sha256))
        raise
