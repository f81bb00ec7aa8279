"""What libraries say about patients stays unsaid.

pydicom, highdicom and their like put values into warnings, logs and errors: a name that is no
valid person name, an age, an identifier. scanside's own messages name attributes and never their
values, so what a library says is dropped, and its errors are told by their type and place alone.
"""

from __future__ import annotations

import logging
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scanside.errors import InternalError, ScansideError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["discreet"]

_LOGGERS: Final = ("highdicom", "nibabel", "nibabel.global", "pydicom", "pylibjpeg", "pynetdicom")


@contextmanager
def discreet(what: str) -> Iterator[None]:
    """Let no library tell a patient's attribute while it works.

    Their loggers stay mute from the first use on; warnings are dropped inside the context, whose
    filter belongs to the process on Python before 3.14: one thread at a time.

    Parameters
    ----------
    what
        What is done, for the message of an error: ``"encoding the results"``.

    Raises
    ------
    InternalError
        For any error that is not scanside's own, with its type and place and without its text.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers[:] = [logging.NullHandler()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ScansideError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - any of them may quote a patient's attribute
        raise InternalError(
            f"{what}: {type(error).__name__} in {_place(error)}",
            remedy="this is a defect of scanside: please report it; its text is left out because"
            " it may name a patient",
        ) from None


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "scanside" in frame.filename]
    found = dict.fromkeys(
        f"{frame.filename.rsplit('/', maxsplit=1)[-1]}:{frame.lineno}"
        for frame in [*own[-1:], *frames[-1:]]
    )
    return ", ".join(found)
