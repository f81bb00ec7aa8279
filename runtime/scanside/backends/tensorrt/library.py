"""TensorRT or TensorRT-RTX, PyCUDA and the CUDA driver, imported on use.

What a version of TensorRT has is asked of the module itself (`has`), never of its number.
"""

from __future__ import annotations

import ctypes
import platform
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scanside.backends.nvidia import DRIVER, driver_missing
from scanside.errors import BackendError, ExtraNotInstalledError

if TYPE_CHECKING:
    from scanside.enginematch import Runtime

__all__ = [
    "Handle",
    "Libraries",
    "driver_error",
    "has",
    "load_libraries",
    "load_runtime",
    "unavailable",
]

_MODULES: Final[dict[Runtime, tuple[tuple[str, ...], ...]]] = {
    "tensorrt": (("tensorrt",), ("tensorrt_bindings",)),
    "tensorrt_rtx": (
        ("tensorrt_rtx",),
        # The execution provider's wheel brings the libraries and loads them when it is imported;
        # the bindings alone find none.
        ("onnxruntime_ep_nv_tensorrt_rtx", "tensorrt_rtx_bindings"),
    ),
}
"""What to import, in the order of preference: the last module of each is the API."""

_EXTRAS: Final[dict[Runtime, str]] = {"tensorrt": "gpu", "tensorrt_rtx": "rtx"}

_JETSON: Final = (
    "on a Jetson TensorRT comes with JetPack and is seen by the system's Python alone: make the"
    " environment with `python3 -m venv --system-site-packages` and install 'scanside[jetson]'"
)
_NO_DRIVER: Final = "install NVIDIA's driver, or start the container with the GPU; scanside doctor"


Handle = ctypes.c_void_p
"""Of a context, a stream or a graph, for calls of the driver itself."""


class Libraries(NamedTuple):
    """What the backend computes with.

    Attributes
    ----------
    trt
        The module ``tensorrt`` or ``tensorrt_rtx``, of any version.
    cuda
        The module ``pycuda.driver``.
    driver
        The CUDA driver itself, for what PyCUDA does not wrap: graphs, and a context without
        PyCUDA's own stack of contexts.
    """

    trt: Any
    cuda: Any
    driver: Any


def has(owner: Any, *path: str) -> bool:  # noqa: ANN401 - any version of the library
    """Say whether a library has a class, a method, a property or a flag.

    Parameters
    ----------
    owner
        The module or an object of it.
    *path
        Names, each an attribute of what is before it.
    """
    for name in path:
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


def driver_error(driver: Any, function: str, code: int) -> BackendError:  # noqa: ANN401 - ctypes
    """Return the error for a call of the driver that has failed.

    Parameters
    ----------
    driver
        See `Libraries`.
    function
        Its name.
    code
        What it returned.
    """
    text = ctypes.c_char_p()
    driver.cuGetErrorString(code, ctypes.byref(text))
    said = text.value.decode() if text.value else "unknown to the driver"
    return BackendError(f"{function} failed: {said} (CUDA error {code})")


def unavailable(runtime: Runtime = "tensorrt") -> str | None:
    """Say why a backend can't be used here, as far as that is known without loading it."""
    if (why := driver_missing()) is not None:
        return why
    if not any(all(map(find_spec, modules)) for modules in _MODULES[runtime]):
        return f"{_MODULES[runtime][0][0]} is not installed"
    return None if find_spec("pycuda") else "pycuda is not installed"


def load_runtime(runtime: Runtime, what: str) -> Any:  # noqa: ANN401 - any version of the library
    """Import TensorRT or TensorRT-RTX.

    Parameters
    ----------
    runtime
        Which of them.
    what
        What needs it, for the error.

    Raises
    ------
    ExtraNotInstalledError
        If it is not installed, and pip could do that.
    BackendError
        If it is not installed on a Jetson, or its own libraries can't be loaded.
    """
    for modules in _MODULES[runtime]:
        if (found := _imported(runtime, modules)) is not None:
            return found
    package = " with ".join(_MODULES[runtime][-1]) if runtime == "tensorrt_rtx" else "tensorrt"
    if platform.machine() == "aarch64":
        raise BackendError(f"{what} needs {package}, which is not installed here", remedy=_JETSON)
    raise ExtraNotInstalledError(what, package=package, extra=_EXTRAS[runtime])


def load_libraries(runtime: Runtime) -> Libraries:
    """Import everything that the backend computes with.

    Parameters
    ----------
    runtime
        TensorRT or TensorRT-RTX.

    Raises
    ------
    ExtraNotInstalledError
        If TensorRT or PyCUDA is not installed.
    BackendError
        If one of them, or the driver, can't be loaded.
    """
    what = f"the {runtime.replace('_', '-')} backend"
    if (why := driver_missing()) is not None:
        raise BackendError(f"{what} can't be used: {why}", remedy=_NO_DRIVER)
    trt = load_runtime(runtime, what)
    driver = ctypes.CDLL(DRIVER)
    try:
        return Libraries(trt, import_module("pycuda.driver"), driver)
    except ModuleNotFoundError as error:
        extra = "jetson" if platform.machine() == "aarch64" else "gpu"
        raise ExtraNotInstalledError(what, package="pycuda", extra=extra) from error
    except ImportError as error:
        raise BackendError(
            f"PyCUDA is installed and can't be imported: {error}",
            remedy="build it against the CUDA that is here: pip install --force-reinstall"
            " --no-binary pycuda pycuda",
        ) from error


def _imported(runtime: Runtime, modules: tuple[str, ...]) -> Any:  # noqa: ANN401
    """Return the last of the modules, or None where one is not installed."""
    try:
        return [import_module(name) for name in modules][-1]
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise _broken(runtime, error) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise _broken(runtime, error) from error
    return None


def _broken(runtime: Runtime, error: Exception) -> BackendError:
    remedy = (
        _JETSON
        if platform.machine() == "aarch64"
        else (f"pip install --force-reinstall 'scanside[{_EXTRAS[runtime]}]'")
    )
    return BackendError(
        f"{_MODULES[runtime][0][0]} is installed and can't be imported: {error}", remedy=remedy
    )
