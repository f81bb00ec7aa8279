"""PNG: the walk over the chunks, each proved by its checksum.

Every truncation is found here, since IEND is missing, and every changed byte, since each chunk
has a CRC. The decoder gets only the chunks that carry pixels.

Accepted: grey of 1, 2, 4 (expanded to 8 bits as the standard says, 1 becoming 255), 8 and 16
bits; palettes, expanded to RGB; RGB, grey with alpha and RGB with alpha of 8 and 16 bits.
Refused: animation, a transparent grey level (OpenCV drops it), an EXIF block that turns the
picture, unknown critical chunks.

References
----------
PNG (W3C Recommendation, third edition, 2025), sections 5, 11 and 13.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from scanside.errors import InputError
from scanside.readers.ifd import check_exif
from scanside.readers.structure import Container, check_side, check_trailing, damaged, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAGIC", "inspect"]

MAGIC: Final = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS: Final = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
"""Bit depths that each colour type may have (section 11.2.1)."""

_CHANNELS: Final = {_GREY: 1, _RGB: 3, _PALETTE: 3, _GREY_ALPHA: 2, _RGB_ALPHA: 4}


def inspect(data: memoryview) -> Container:
    """Walk the chunks of a PNG file.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    InputError
        If a chunk is missing, cut or changed, or the picture is not accepted.
    """
    names: list[bytes] = []
    ranges = [(0, len(MAGIC))]
    width = height = color = 0
    for name, start, stop in _chunks(data):
        body = data[start + 8 : stop - 4]
        if (name == b"IHDR") != (not names):
            raise damaged("PNG", "IHDR is not its first chunk")
        if name == b"IHDR":
            width, height, color = _header(body)
        elif name == b"eXIf":
            check_exif(body)
        else:
            _check(name, color)
        names.append(name)
        if name in {b"IHDR", b"IDAT", b"IEND"} or (
            name in {b"PLTE", b"tRNS"} and color in {_RGB, _PALETTE}
        ):
            ranges.append((start, stop))
    if b"IDAT" not in names or (color == _PALETTE and b"PLTE" not in names):
        raise damaged("PNG", "it has no pixels or no palette")
    check_trailing("PNG", data[ranges[-1][1] :])
    return Container("PNG", ((width, height),), channels=_CHANNELS[color], ranges=tuple(ranges))


def _chunks(data: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Give each chunk's name, start and stop, up to and including IEND."""
    start, name = len(MAGIC), b""
    while name != b"IEND":
        length, name = unpack("PNG", ">I4s", data, start)
        stop = start + 12 + length
        (checksum,) = unpack("PNG", ">I", data, stop - 4)
        if zlib.crc32(data[start + 4 : stop - 4]) != checksum:
            raise damaged("PNG", f"the checksum of the chunk at byte {start} does not match")
        yield name, start, stop
        start = stop


def _header(body: memoryview) -> tuple[int, int, int]:
    """Return width, height and colour type."""
    width, height, depth, color, *methods = unpack("PNG", ">IIBBBBB", body)
    if depth not in _DEPTHS.get(color, ()) or methods not in ([0, 0, 0], [0, 0, 1]):
        raise damaged("PNG", f"its header is not valid (colour type {color}, {depth} bits)")
    check_side(width, height)
    return width, height, color


def _check(name: bytes, color: int) -> None:
    if name == b"acTL":
        raise InputError("the PNG is animated", accepted="one picture in a PNG file")
    if name == b"tRNS" and color == _GREY:
        raise InputError(
            "one grey level of the PNG is declared transparent",
            accepted="opaque images",
            remedy="save the image without transparency",
        )
    critical = not name[0] & 0x20
    if critical and name not in {b"PLTE", b"IDAT", b"IEND"}:
        raise damaged("PNG", f"it has a chunk {name!r} that no standard knows")
