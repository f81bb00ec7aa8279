"""TensorRT or TensorRT-RTX, imported; used in the child process only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from scanside_export.engine.exchange import Failed

if TYPE_CHECKING:
    from scanside_export.engine.exchange import Target

__all__ = ["ChildError", "has", "load_library"]

_MODULES: Final[dict[Target, tuple[tuple[str, ...], ...]]] = {
    "trt": (("tensorrt",), ("tensorrt_bindings",)),
    "rtx": (
        ("tensorrt_rtx",),
        # The execution provider's wheel brings the libraries and loads them when it is imported;
        # the bindings alone find none.
        ("onnxruntime_ep_nv_tensorrt_rtx", "tensorrt_rtx_bindings"),
    ),
}
"""What to import, in the order of preference: the last module of each is the API."""

_REMEDIES: Final[dict[Target, str]] = {
    "trt": (
        "on a Jetson TensorRT comes with JetPack: make the environment with `python3 -m venv"
        " --system-site-packages` and install 'scanside[jetson]'; on a desktop GPU:"
        " pip install 'scanside[gpu]'"
    ),
    "rtx": (
        "install it with: pip install --no-deps onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0"
        " tensorrt-rtx-cu13-bindings==1.7.1.116 (x86-64, no GPU needed)"
    ),
}


class ChildError(Exception):
    """Ends the child process with an event.

    Parameters
    ----------
    failed
        What the parent is told.
    """

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.given)
        self.failed = failed


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


def load_library(target: Target) -> Any:  # noqa: ANN401 - any version of the library
    """Import the library.

    Parameters
    ----------
    target
        ``trt`` or ``rtx``.

    Raises
    ------
    ChildError
        If it is not installed, or its own libraries can't be loaded.
    """
    for modules in _MODULES[target]:
        if (found := _imported(target, modules)) is not None:
            return found
    names = ", or ".join(" with ".join(modules) for modules in _MODULES[target])
    raise ChildError(
        Failed(
            kind="missing",
            given=f"scanside build --target {target} needs {names}, which is not installed here",
            remedy=_REMEDIES[target],
        )
    )


def _imported(target: Target, modules: tuple[str, ...]) -> Any:  # noqa: ANN401
    """Return the last of the modules, or None where one is not installed."""
    try:
        return [import_module(name) for name in modules][-1]
    except ModuleNotFoundError as error:
        if error.name not in modules:
            _broken(target, error)
    except (ImportError, OSError, RuntimeError) as error:
        _broken(target, error)
    return None


def _broken(target: Target, error: Exception) -> NoReturn:
    raise ChildError(
        Failed(
            kind="backend",
            given=f"{_MODULES[target][0][0]} is installed and cannot be imported: {error}",
            remedy=_REMEDIES[target],
        )
    ) from error
