"""WebP: the walk over the RIFF chunks.

libwebp gives no picture for a file that breaks off, but takes any RIFF size; the walk finds
the break before anything is decoded. WebP has no checksum: damage inside the pixels that keeps
the structure cannot be seen.

Accepted: lossy, lossless and extended, with or without alpha; the result is always RGB.
Refused: animation, an EXIF block that turns the picture.

References
----------
RFC 9649 (WebP image format, 2024), sections 2 and 3; RFC 6386 (VP8), section 9.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.errors import InputError
from scanside.readers.ifd import check_exif
from scanside.readers.structure import Container, check_side, check_trailing, damaged, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["inspect", "recognises"]

_VP8_START: Final = b"\x9d\x01\x2a"
_VP8L_SIGNATURE: Final = 0x2F


def recognises(head: bytes) -> bool:
    """Tell whether a file with these first bytes is WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def inspect(data: memoryview) -> Container:
    """Walk the chunks of a WebP file.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    InputError
        If it breaks off, has no or more than one picture, or is not accepted.
    """
    stop = 8 + unpack("WebP", "<4xI", data)[0]
    if stop > len(data):
        raise damaged("WebP", f"it has {len(data)} of {stop} bytes")
    sizes, canvas = [], None
    for name, body in _chunks(data[12:stop]):
        if name in {b"ANIM", b"ANMF"}:
            raise InputError("the WebP is animated", accepted="one picture in a WebP file")
        if name == b"EXIF":
            check_exif(body)
        elif name == b"VP8X":
            canvas = _extended(body)
        elif name in {b"VP8 ", b"VP8L"}:
            sizes.append(_lossy(body) if name == b"VP8 " else _lossless(body))
    if len(sizes) != 1 or canvas not in {None, sizes[0]}:
        raise damaged("WebP", f"its canvas is {canvas} and its pictures are {sizes}")
    check_side(*sizes[0])
    check_trailing("WebP", data[stop:])
    return Container("WebP", (sizes[0],), ranges=((0, stop),))


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    start = 0
    while start < len(data):
        name, length = unpack("WebP", "<4sI", data, start)
        stop = start + 8 + length
        if stop > len(data):
            raise damaged("WebP", f"the chunk at byte {start + 12} is longer than the file says")
        yield name, data[start + 8 : stop]
        start = stop + length % 2


def _lossy(body: memoryview) -> tuple[int, int]:
    frame, start, width, height = unpack("WebP", "<B2x3sHH", body)
    if frame & 1 or start != _VP8_START:
        raise damaged("WebP", "its lossy picture does not start with a key frame")
    return width & 0x3FFF, height & 0x3FFF  # the upper two bits ask for upscaling


def _lossless(body: memoryview) -> tuple[int, int]:
    signature, bits = unpack("WebP", "<BI", body)
    if signature != _VP8L_SIGNATURE:
        raise damaged("WebP", "its lossless picture has no signature")
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)


def _extended(body: memoryview) -> tuple[int, int]:
    width, height = unpack("WebP", "<4x3s3s", body)
    return 1 + int.from_bytes(width, "little"), 1 + int.from_bytes(height, "little")
