"""Decoders that damaged data can hang or end run in a helper process of limited memory and time.

GDCM aborts on some damaged JPEG Lossless streams, and CharLS (pyjpegls) goes on for tens of
seconds after the end of some that are cut. The helper gets DICOM files on its standard input and
answers with arrays. It is started when it is first needed, serves every series of this process,
and is replaced after a file that it did not survive: that file is refused, and nothing else
happens.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.errors import InputError, InternalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode_in_helper"]

_START_SECONDS: Final = 60.0
_SECONDS: Final = 1.5
_SECONDS_A_MEGABYTE: Final = 2.0
"""How long a file may take once the helper runs: a megabyte takes about a twentieth of a second."""

LENGTH: Final = struct.Struct("<Q")
"""What precedes every part of the conversation."""


class _LostError(Exception):
    """The helper did not survive a file."""


class _Helper:
    """The helper process."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[3])
        paths = [root, os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            [sys.executable, "-m", "scanside.readers.dicom.helper_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders write what they find in the file
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.pathsep.join(path for path in paths if path),
                # Threads of a numerical library would each reserve address space.
                "OPENBLAS_NUM_THREADS": "1",
            },
        )
        if process.stdin is None or process.stdout is None:
            raise InternalError("the helper has no pipes")
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        try:
            self._receive(LENGTH.size, _START_SECONDS)  # it says so once it is ready
        except _LostError as lost:
            self.close()
            raise InternalError(
                f"the helper that decodes did not start ({lost})",
                remedy="see that this machine has a gigabyte of memory free, and try again",
            ) from None
        except BaseException:
            self.close()
            raise

    def ask(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        """Hand over a file; return the answer's head and body."""
        try:
            self._stdin.write(LENGTH.pack(len(data)) + data)
            self._stdin.flush()
        except OSError:
            raise _LostError(self._ending()) from None
        seconds = _SECONDS + _SECONDS_A_MEGABYTE * len(data) / 2**20
        sizes = self._receive(2 * LENGTH.size, seconds)
        (head_size,), (body_size,) = LENGTH.unpack(sizes[:8]), LENGTH.unpack(sizes[8:])
        head: dict[str, Any] = json.loads(self._receive(head_size, seconds))
        return head, self._receive(body_size, seconds)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _receive(self, size: int, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        parts: list[bytes] = []
        while size:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._stdout], [], [], left)[0]:
                raise _LostError(f"it took more than {seconds:.0f} s")
            part = os.read(self._stdout.fileno(), min(size, 2**20))
            if not part:
                raise _LostError(self._ending())
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _ending(self) -> str:
        code = self._process.wait()
        return f"it ended with signal {-code}" if code < 0 else f"it ended with code {code}"


_LOCK: Final = threading.Lock()
_RUNNING: Final[list[_Helper]] = []
"""The helper of this process, once there is one."""


def _end() -> None:
    while _RUNNING:
        _RUNNING.pop().close()


atexit.register(_end)
os.register_at_fork(after_in_child=_RUNNING.clear)  # a forked process has no helper of its own


def decode_in_helper(data: bytes, source: str) -> NDArray[np.generic]:
    """Decode the pixel data of a file.

    Parameters
    ----------
    data
        The whole DICOM file.
    source
        What to call it.

    Returns
    -------
    ndarray
        As from `scanside.readers.dicom.pixels.decode`.

    Raises
    ------
    InputError
        If the file is not accepted, or the helper did not survive it.
    InternalError
        If the helper did not start.
    """
    with _LOCK:
        try:
            if not _RUNNING:
                _RUNNING.append(_Helper())
            head, body = _RUNNING[0].ask(data)
        except _LostError as lost:
            _end()
            raise InputError(
                f"{source}: the decoder did not survive this file ({lost})",
                accepted="whole JPEG Lossless and JPEG-LS streams",
                remedy="export the series again, uncompressed if need be",
            ) from None
        except BaseException:
            _end()  # its answer may be on the way, and the next file would get it
            raise
    if "given" in head:
        raise InputError(
            f"{source}{head['given']}", accepted=head["accepted"], remedy=head["remedy"]
        )
    pixels: NDArray[np.generic] = np.frombuffer(body, np.dtype(head["dtype"]))
    shape: tuple[int, ...] = tuple(head["shape"])
    return pixels.reshape(shape)
