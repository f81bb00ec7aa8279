"""The server's log: lines of text or of JSON on stderr, written without ever waiting for it."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from scanside.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FORMATS", "logging_to_stderr"]

FORMATS: Final = ("text", "json")

_LINES_HELD: Final = 1000
"""Lines that wait for a reader of stderr, at most; a console that does not read its child's
stderr must not be able to stop it."""

_LAST_LINES_S: Final = 1.0
_STDERR: Final = 2

_Lines: TypeAlias = "queue.Queue[logging.LogRecord | None]"


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a line as ``scanside: warning: what happened``."""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return plain(f"scanside: {level}{record.getMessage()}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a JSON object: time (UTC), level, message."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return json.dumps(
            {
                "time": f"{when}.{int(record.msecs):03d}Z",
                "level": record.levelname.lower(),
                "message": record.getMessage(),
            }
        )


class _Dropping(logging.handlers.QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        """Leave a line out where too many wait."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return


class _Writer(threading.Thread):
    """Writes lines to stderr, past `sys.stderr` and without a lock of `logging`.

    It may be stuck in the write for ever, and the end of the process takes such locks.
    """

    def __init__(self, lines: _Lines, formatter: logging.Formatter) -> None:
        super().__init__(name="scanside-log", daemon=True)
        self._lines: Final = lines
        self._formatter: Final = formatter

    def run(self) -> None:
        """Write until there is None in place of a line."""
        while (record := self._lines.get()) is not None:
            content = memoryview(f"{self._formatter.format(record)}\n".encode())
            with suppress(OSError):  # nobody has the other end, or the disk is full
                while content:
                    content = content[os.write(_STDERR, content) :]


@contextmanager
def logging_to_stderr(form: str) -> Iterator[logging.Logger]:
    """Send the server's log to stderr.

    Parameters
    ----------
    form
        One of `FORMATS`.

    Yields
    ------
    Logger
        Thread-safe; a line is dropped where a thousand wait. At the end what waits is written,
        unless nobody reads it within a second.
    """
    log = logging.getLogger("scanside.serve")
    log.setLevel(logging.INFO)
    log.propagate = False
    lines: _Lines = queue.Queue(_LINES_HELD)
    writer = _Writer(lines, _Json() if form == "json" else _Text())
    writer.start()
    handler = _Dropping(lines)
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        until = time.monotonic() + _LAST_LINES_S
        with suppress(queue.Full):
            lines.put(None, timeout=_LAST_LINES_S)
        writer.join(max(0.0, until - time.monotonic()))
