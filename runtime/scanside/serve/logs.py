"""The server's log: lines of text or of JSON on stderr, written without ever waiting for it."""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FORMATS", "logging_to_stderr"]

FORMATS: Final = ("text", "json")

_LINES_HELD: Final = 1000
"""Lines that wait for a reader of stderr, at most; a console that does not read its child's
stderr must not be able to stop it."""


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a line as ``scanside: warning: what happened``."""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return f"scanside: {level}{record.getMessage()}"


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
        Thread-safe; a line is dropped where a thousand wait.
    """
    log = logging.getLogger("scanside.serve")
    log.setLevel(logging.INFO)
    log.propagate = False
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_LINES_HELD)
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(_Json() if form == "json" else _Text())
    listener = logging.handlers.QueueListener(lines, stderr)
    listener.start()
    handler = _Dropping(lines)
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        listener.stop()
