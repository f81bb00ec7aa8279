"""TensorRT or TensorRT-RTX, imported; used in the child process only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scanside.backends.tensorrt.library import has, load_runtime
from scanside.errors import BackendError, ExtraNotInstalledError
from scanside_export.engine.exchange import Failed

if TYPE_CHECKING:
    from scanside.enginematch import Runtime
    from scanside_export.engine.exchange import Target

__all__ = ["RUNTIMES", "ChildError", "has", "load_library"]

RUNTIMES: Final[dict[Target, Runtime]] = {"trt": "tensorrt", "rtx": "tensorrt_rtx"}


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
    try:
        return load_runtime(RUNTIMES[target], f"scanside build --target {target}")
    except ExtraNotInstalledError as error:
        failed = Failed(kind="missing", given=error.given, remedy=error.remedy)
        raise ChildError(failed) from error
    except BackendError as error:
        failed = Failed(kind="backend", given=error.given, remedy=error.remedy)
        raise ChildError(failed) from error
