"""The child process that loads the library: ``python -m scanside_export.engine.worker``.

It reads a request from its standard input (an empty one asks what library and device there are)
and writes events, one JSON object a line, to its standard output.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from scanside_export.engine.exchange import Found, Request, Target
from scanside_export.engine.library import ChildError, load_library

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside_export.engine.exchange import Event

__all__ = ["main"]

_FIRST_TO_GO: Final = "1000"
"""Where memory runs out, the kernel ends this process before any other.

References
----------
proc_pid_oom_score_adj(5): 1000 is the largest.
"""


def main() -> None:
    """Do what the request on standard input says."""
    tell = _events()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    target: Target = "rtx" if sys.argv[1] == "rtx" else "trt"
    asked = sys.stdin.buffer.read()
    try:
        _work(target, asked, tell)
    except ChildError as error:
        tell(error.failed)


def _work(target: Target, asked: bytes, tell: Callable[[Event], None]) -> None:
    from scanside_export.engine.compiler import compile_engine
    from scanside_export.engine.device import first_device

    library = load_library(target)
    if asked:
        tell(compile_engine(library, msgspec.json.decode(asked, type=Request), tell))
    else:
        device = first_device() if target == "trt" else None
        tell(Found(version=str(library.__version__), device=device))


def _events() -> Callable[[Event], None]:
    """Return what writes events; all else that is printed goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)

    def tell(event: Event) -> None:
        try:
            os.write(out, msgspec.json.encode(event) + b"\n")
        except BrokenPipeError:
            os._exit(1)  # the parent is gone: nobody needs the engine

    return tell


if __name__ == "__main__":
    main()
