"""What TensorRT tells while it runs: its log, its errors, and the time of each layer."""

from __future__ import annotations

import logging
from typing import Any, Final

from scanside.backends.tensorrt.device import LESS_MEMORY
from scanside.errors import BackendError, ScansideError

__all__ = ["make_layer_profiler", "make_logger", "make_recorder"]

_LOG: Final = logging.getLogger(__name__)
_KEPT: Final = 20
"""Errors that are kept of one failure; the first says most."""


def make_logger(trt: Any) -> Any:  # noqa: ANN401 - any version of the library
    """Return a logger of the library that hands warnings and errors to Python's.

    Parameters
    ----------
    trt
        The library.
    """
    severity = trt.ILogger
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, level: Any, text: str) -> None:  # noqa: ANN401
            if level in levels:
                _LOG.log(levels[level], "%s", text)

    return Logger()


def make_recorder(trt: Any) -> Any:  # noqa: ANN401, C901 - one class of small methods
    """Return an ``IErrorRecorder``: calls of the library say only that they failed, it says why.

    Parameters
    ----------
    trt
        The library.

    Returns
    -------
    IErrorRecorder
        With `error`, which makes an exception of all that was reported since the last one.
    """
    allocation = getattr(trt.ErrorCodeTRT, "FAILED_ALLOCATION", None)

    class Recorder(trt.IErrorRecorder):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self._errors: list[tuple[Any, str]] = []

        def error(self, given: str, kind: type[ScansideError], remedy: str) -> ScansideError:
            short = any(code == allocation for code, _ in self._errors)
            said = "; ".join(dict.fromkeys(text.strip() for _, text in self._errors))
            self._errors.clear()
            given = f"{given}: {said or 'the library gives no reason'}"
            if short:
                return BackendError(given, remedy=LESS_MEMORY)
            return kind(given, remedy=remedy)

        def report_error(self, code: Any, text: str) -> bool:  # noqa: ANN401
            if len(self._errors) < _KEPT:
                self._errors.append((code, text))
            return True

        def num_errors(self) -> int:
            return len(self._errors)

        def get_error_code(self, index: int) -> Any:  # noqa: ANN401
            return self._errors[index][0]

        def get_error_desc(self, index: int) -> str:
            return self._errors[index][1]

        def has_overflowed(self) -> bool:
            return len(self._errors) == _KEPT

        def clear(self) -> None:
            self._errors.clear()

    return Recorder()


def make_layer_profiler(trt: Any) -> Any:  # noqa: ANN401
    """Return an ``IProfiler`` whose `layers` has the milliseconds of each call, by layer.

    Parameters
    ----------
    trt
        The library.
    """

    class LayerProfiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.layers: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.layers.setdefault(layer_name, []).append(ms)

    return LayerProfiler()
