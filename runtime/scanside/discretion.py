"""What libraries say about patients stays unsaid.

pydicom, highdicom and their like put values into warnings, logs and errors: a name that is no
valid person name, an age, an identifier. scanside's own messages name attributes and never their
values, so what a library says is dropped, and its errors are told by their type and place alone.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scanside.errors import InputError, InternalError, ScansideError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["LIBRARIES", "discreet", "quiet", "refusing", "tell_discreetly"]

LIBRARIES: Final = (
    "pydicom",
    "pynetdicom",
    "highdicom",
    "pylibjpeg",
    "openjpeg",
    "nibabel",
    "nibabel.global",
)
"""Loggers of the libraries that handle files of patients."""

_SILENT: Final = logging.CRITICAL + 1

_ONE_AT_A_TIME: Final = threading.RLock()
"""The filter of warnings belongs to the process (`warnings.catch_warnings`)."""

_HERE: Final = threading.local()
"""Whether this thread is quiet already: a study is a hundred files, each read in several steps."""


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings and log records of the libraries; one thread at a time."""
    if getattr(_HERE, "quiet", False):
        yield
        return
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(_SILENT)
        _HERE.quiet = True
        try:
            yield
        finally:
            _HERE.quiet = False
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


@contextmanager
def discreet(what: str) -> Iterator[None]:
    """Let no library tell a patient's attribute while it makes a result; `quiet` throughout.

    Parameters
    ----------
    what
        What is done, for the message of an error: ``"encoding the results"``.

    Raises
    ------
    InternalError
        For any error that is not scanside's own, with its type and place and without its text.
    MemoryError
        As it is: it is told of neither a file nor scanside.
    """
    try:
        with quiet():
            yield
    except (ScansideError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - any of them may quote a patient's attribute
        raise InternalError(
            f"{what}: {type(error).__name__} in {_place(error)}",
            remedy="this is a defect of scanside: please report it; the error's own text is left"
            " out because it may name a patient",
        ) from None


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
    MemoryError
        As it is: the file may be as good as any.
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
        if isinstance(error, Exception) and not isinstance(error, (ScansideError, MemoryError)):
            raise InputError(
                f"{self._about} cannot be read ({type(error).__name__})",
                accepted="whole files that keep to their format",
                remedy="export the series again, or check it with dciodvfy or nifti_tool",
            ) from None


def tell_discreetly(failed: threading.ExceptHookArgs) -> None:
    """Say on stderr that a library's thread ended, by the error's type and place alone.

    In place of `threading.excepthook`, which prints the error's text, which may quote what came.
    """
    error = failed.exc_value
    if isinstance(error, Exception):
        sys.stderr.write(f"scanside: a thread ended: {type(error).__name__} in {_place(error)}\n")


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "scanside" in frame.filename]
    found = dict.fromkeys(
        f"{frame.filename.rsplit('/', maxsplit=1)[-1]}:{frame.lineno}"
        for frame in [*own[-1:], *frames[-1:]]
    )
    return ", ".join(found)
