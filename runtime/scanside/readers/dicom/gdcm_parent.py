"""JPEG Lossless by GDCM in a child process of limited memory and time.

The child gets DICOM files on its standard input and answers with arrays; should a damaged file
make it abort, crash, take too much memory or never end, the series is refused and nothing else
happens.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.errors import ExtraNotInstalledError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scanside.readers.blobs import Blob

__all__ = ["decode_in_child"]

_SECONDS: Final = 20
_SECONDS_A_MEGABYTE: Final = 0.5
"""How long the child may take: starting it takes half a second, a megabyte a fiftieth."""

_LENGTH: Final = struct.Struct("<Q")


def decode_in_child(blobs: Sequence[Blob]) -> Iterator[NDArray[np.generic]]:
    """Decode files of one series.

    Yields
    ------
    ndarray
        As from `scanside.readers.dicom.pixels.decode`, for each file.

    Raises
    ------
    InputError
        If a file is not accepted, or the child did not survive it.
    ExtraNotInstalledError
        If GDCM is not installed.
    """
    if find_spec("gdcm") is None:
        raise ExtraNotInstalledError("JPEG Lossless", package="python-gdcm", extra="dicom")
    sent = b"".join(_LENGTH.pack(len(data)) + data for data in (blob.read() for blob in blobs))
    answer = _ask(sent, blobs[0].source)
    at = 0
    for blob in blobs:
        if at + _LENGTH.size > len(answer):
            raise _lost(blob.source, "it ended early")
        (size,) = _LENGTH.unpack_from(answer, at)
        head = json.loads(answer[at + _LENGTH.size : at + _LENGTH.size + size])
        at += _LENGTH.size + size
        if "given" in head:
            raise InputError(
                f"{blob.source}{head['given']}", accepted=head["accepted"], remedy=head["remedy"]
            )
        dtype, shape = np.dtype(head["dtype"]), tuple(head["shape"])
        count = int(np.prod(shape))
        if at + count * dtype.itemsize > len(answer):
            raise _lost(blob.source, "it ended early")
        yield np.frombuffer(answer, dtype, count, at).reshape(shape)
        at += count * dtype.itemsize


def _ask(sent: bytes, source: str) -> bytes:
    root = str(Path(__file__).parents[3])
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        # Threads of a numerical library would each reserve address space, which is limited.
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "scanside.readers.dicom.gdcm_child"]
    seconds = _SECONDS + _SECONDS_A_MEGABYTE * len(sent) / 2**20
    try:
        done = subprocess.run(  # noqa: S603 - this program's own module
            command,
            input=sent,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # GDCM writes what it finds in the file
            env=environment,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _lost(source, f"it took more than {seconds:.0f} s") from None
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise _lost(source, f"it ended with {how}")
    return done.stdout


def _lost(source: str, why: str) -> InputError:
    return InputError(
        f"{source}: the JPEG Lossless decoder did not survive this series ({why})",
        accepted="whole JPEG Lossless streams",
        remedy="export the series again, uncompressed if need be",
    )
