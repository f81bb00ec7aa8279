"""The process that decodes for others: ``python -m scanside.readers.dicom.helper_main``.

It writes eight bytes once it is ready. Input: for each file its length (8 bytes, little endian) and
its bytes. Output: the lengths of a JSON head and of a body, the head, and the array as the body; or
a head with the refusal and no body.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Final

import numpy as np

from scanside.errors import InputError
from scanside.readers.dicom.header import load, require_pydicom
from scanside.readers.dicom.helper import LENGTH
from scanside.readers.dicom.pixels import decode

__all__: list[str] = []

_ADDRESS_SPACE: Final = 2**30
"""Bytes: the interpreter, numpy and the decoders take about a third of it, a large series
another."""


def main() -> None:
    """Decode what comes until the input ends."""
    require_pydicom()
    for what, most in (
        (resource.RLIMIT_AS, _ADDRESS_SPACE),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))
    _write(LENGTH.pack(0))
    while len(prefix := sys.stdin.buffer.read(LENGTH.size)) == LENGTH.size:
        data = sys.stdin.buffer.read(LENGTH.unpack(prefix)[0])
        body = b""
        try:
            pixels = decode(load(data, ""), "", in_helper=True)
        except InputError as error:
            head: dict[str, object] = {
                "given": error.given, "accepted": error.accepted, "remedy": error.remedy,
            }  # fmt: skip
        else:
            head = {"dtype": pixels.dtype.str, "shape": pixels.shape}
            body = np.ascontiguousarray(pixels).tobytes()
        encoded = json.dumps(head).encode()
        _write(LENGTH.pack(len(encoded)) + LENGTH.pack(len(body)) + encoded + body)


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
