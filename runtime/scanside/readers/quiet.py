"""Nothing that a library says of a patient's file reaches a log: it may quote the patient."""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scanside.errors import InputError, ScansideError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["LIBRARIES", "quiet", "refusing"]

LIBRARIES: Final = ("pydicom", "pynetdicom", "highdicom", "pylibjpeg", "openjpeg", "nibabel")
"""Loggers of the libraries that handle files of patients."""

_SILENT: Final = logging.CRITICAL + 1

_ONE_AT_A_TIME: Final = threading.RLock()
"""The filter of warnings belongs to the process (`warnings.catch_warnings`)."""


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings and log records of the libraries; one thread at a time."""
    loggers = [logging.getLogger(name) for name in (*LIBRARIES, "nibabel.global")]
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(_SILENT)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


class refusing:  # noqa: N801 - a context manager, used as a verb
    """Make a refusal of whatever a library raises, `quiet` throughout.

    Parameters
    ----------
    source
        What is being read.
    what
        What it is about, for instance ``"the header"``.

    Raises
    ------
    InputError
        Without the library's text, which may quote values, and without its traceback.
    """

    def __init__(self, source: str, what: str) -> None:
        self._about = f"{source}: {what}"
        self._quiet = quiet()

    def __enter__(self) -> None:
        self._quiet.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._quiet.__exit__(None, None, None)
        # A parser fed with anything may raise anything.
        if isinstance(error, Exception) and not isinstance(error, ScansideError):
            raise InputError(
                f"{self._about} cannot be read ({type(error).__name__})",
                accepted="whole files that keep to their format",
                remedy="export the series again, or check it with dciodvfy or nifti_tool",
            ) from None
