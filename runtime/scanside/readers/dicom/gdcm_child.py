"""The child that decodes JPEG Lossless: ``python -m scanside.readers.dicom.gdcm_child``.

Input: for each file its length (8 bytes, little endian) and its bytes. Output: for each file the
length of a JSON head and the head, then the array's bytes; or a head with the refusal, which ends
the output.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from typing import Final

import numpy as np

from scanside.errors import InputError
from scanside.readers.dicom.header import load
from scanside.readers.dicom.pixels import decode

__all__: list[str] = []

_ADDRESS_SPACE: Final = 2**30
"""Bytes: the interpreter, numpy and GDCM take about a third of it, a large series another."""

_CPU_SECONDS: Final = 120

_LENGTH: Final = struct.Struct("<Q")


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_AS, _ADDRESS_SPACE),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _answer(head: dict[str, object], body: bytes = b"") -> None:
    encoded = json.dumps(head).encode()
    sys.stdout.buffer.write(_LENGTH.pack(len(encoded)) + encoded + body)


def main() -> None:
    """Decode what comes until the input ends."""
    _limit()
    while len(prefix := sys.stdin.buffer.read(_LENGTH.size)) == _LENGTH.size:
        data = sys.stdin.buffer.read(_LENGTH.unpack(prefix)[0])
        try:
            pixels = decode(load(data, "", pixels=True), "", in_child=True)
        except InputError as error:
            _answer({"given": error.given, "accepted": error.accepted, "remedy": error.remedy})
            break
        _answer(
            {"dtype": pixels.dtype.str, "shape": pixels.shape},
            np.ascontiguousarray(pixels).tobytes(),
        )


if __name__ == "__main__":
    main()
