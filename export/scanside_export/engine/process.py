"""The child process from the parent's side: its limits, and what its end means."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from scanside.errors import BackendError, BundleError, InternalError, ScansideError
from scanside_export.engine.exchange import Built, Event, Failed, Found, Progress, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scanside_export.engine.exchange import Target

__all__ = ["Limits", "Outcome", "run_child", "worker_command"]

_POLL_SECONDS: Final = 0.2
_TAIL: Final = 2000
"""Bytes of the child's standard error that are worth quoting."""

_MIB: Final = 1 << 20
_LESS_MEMORY: Final = (
    "close other programs, add swap, or build with a smaller --batch, --workspace, --tactic-dram"
    " or --level; engines that were there are as they were"
)


class Limits(NamedTuple):
    """What a child may take.

    Attributes
    ----------
    seconds
        Of wall time.
    memory
        Bytes of resident memory; none for what the machine has.
    """

    seconds: float
    memory: int | None = None


class Outcome(NamedTuple):
    """What a child left.

    Attributes
    ----------
    result
        Its last word.
    log
        Warnings and errors of the library.
    peak
        The most resident memory that was seen, in bytes.
    """

    result: Found | Built
    log: tuple[str, ...]
    peak: int


def worker_command(target: Target) -> tuple[str, ...]:
    """Return the command that starts the child."""
    return (sys.executable, "-m", "scanside_export.engine.worker", target)


def run_child(
    command: Sequence[str], request: bytes, limits: Limits, update: Callable[[float], None]
) -> Outcome:
    """Run a child to its end.

    Parameters
    ----------
    command
        See `worker_command`.
    request
        What it reads.
    limits
        Beyond them it is ended.
    update
        Takes the progress, 0 to 1.

    Raises
    ------
    BackendError
        If the library is not there, refuses, crashes, or the child needs more than it may take;
        also if the kernel ended it for want of memory.
    BundleError
        If the library refuses the model.
    InternalError
        If the child fails otherwise.
    """
    watched = _Watched(limits, update)
    kills = _kills_so_far()
    with tempfile.TemporaryFile() as errors:
        # Where the working folder is on the path, a file in it could stand in for a module.
        child = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        try:
            _send(child, request)
            watched.follow(child)
            if watched.exceeded:
                child.kill()
            code = child.wait()
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        if isinstance(watched.result, Built | Found) and code == 0:
            return Outcome(watched.result, tuple(watched.log), watched.peak)
        raise _ended(code, watched, oom=_kills_so_far() > kills, errors=errors)


class _Watched:
    """A child's events, time and memory."""

    def __init__(self, limits: Limits, update: Callable[[float], None]) -> None:
        self.limits = limits
        self.update = update
        self.result: Event | None = None
        self.log: list[str] = []
        self.peak = 0
        self.exceeded = ""

    def follow(self, child: subprocess.Popen[bytes]) -> None:
        """Take events until the child closes its end, or a limit is passed."""
        pipe: Any = child.stdout
        deadline = time.monotonic() + self.limits.seconds
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not self._check(child.pid, deadline):
                if not selector.select(_POLL_SECONDS):
                    continue
                part = os.read(pipe.fileno(), _MIB)
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    self._take(line)

    def _check(self, pid: int, deadline: float) -> bool:
        """Say whether the child has to be ended."""
        self.peak = max(self.peak, resident := _resident(pid))
        limit = self.limits.memory
        if limit is not None and resident > limit:
            self.exceeded = f"needs more than {limit // _MIB:,} MiB of memory, which was the limit"
        elif time.monotonic() > deadline:
            self.exceeded = f"takes more than {self.limits.seconds:,.0f} s, which was the limit"
        return bool(self.exceeded)

    def _take(self, line: bytes) -> None:
        try:
            event: Event = msgspec.json.decode(line, type=Event)
        except msgspec.DecodeError as error:
            raise InternalError(f"the child process said {line[:200]!r}: {error}") from None
        if isinstance(event, Progress):
            self.update(event.done)
        elif isinstance(event, Said):
            self.log.append(event.text)
        else:
            self.result = event


def _send(child: subprocess.Popen[bytes], request: bytes) -> None:
    pipe: Any = child.stdin
    with suppress(BrokenPipeError), pipe:
        pipe.write(request)


def _ended(code: int, watched: _Watched, *, oom: bool, errors: IO[bytes]) -> ScansideError:
    """Return the error for a child that left no result."""
    if watched.exceeded:
        return BackendError(
            f"the build {watched.exceeded}, and was ended",
            remedy=f"raise --memory-limit or --time-limit, or {_LESS_MEMORY}",
        )
    if isinstance(watched.result, Failed):
        kind = BundleError if watched.result.kind == "model" else BackendError
        return kind(watched.result.given, remedy=watched.result.remedy)
    if code == -signal.SIGKILL:
        why = (
            "the kernel ran out of memory and ended the build"
            if oom
            else "the build was killed from outside, as the kernel does when memory runs out"
        )
        return BackendError(
            f"{why} (it held {watched.peak // _MIB:,} MiB of memory)", remedy=_LESS_MEMORY
        )
    errors.seek(0, os.SEEK_END)
    errors.seek(max(errors.tell() - _TAIL, 0))
    said = errors.read().decode("utf-8", "replace").strip()
    if code < 0:
        return BackendError(
            f"the library crashed the build ({signal.Signals(-code).name}): {said}",
            remedy="take other options or another version of the library; nothing was changed",
        )
    return InternalError(f"the child process ended with {code}: {said}")


def _resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 once it has ended."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _kills_so_far() -> int:
    """Return how many processes the kernel has ended for want of memory since it started."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
