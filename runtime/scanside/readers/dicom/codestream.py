"""What a compressed frame declares in its own header, checked before a decoder sees it.

Decoders take memory for what the compressed stream declares, whatever the dataset says: a frame
of 64 x 64 may declare 60,000 x 60,000. Only the few bytes that hold the size are looked at.

References
----------
ITU-T T.81 B.2.2 (JPEG SOF), T.87 C.2.2 (JPEG-LS SOF55), T.800 A.5.1 (JPEG 2000 SIZ).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from scanside.errors import InputError

__all__ = ["Declared", "jpeg2000_size", "jpeg_size"]

_J2K_START: Final = b"\xff\x4f\xff\x51"
"""Start of codestream and the SIZ marker, which must follow it."""

_JP2_MAGIC: Final = b"\x00\x00\x00\x0cjP  "
_MAX_TILES: Final = 4096
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAME_MARKERS: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = b"\xff\xd9"


class Declared(NamedTuple):
    """What a frame declares.

    Attributes
    ----------
    rows, columns, components
        Size.
    precision
        Bits of a sample.
    kind
        The SOF marker's second byte, or 0x51 for JPEG 2000.
    """

    rows: int
    columns: int
    components: int
    precision: int
    kind: int


def jpeg2000_size(frame: bytes) -> Declared:
    """Read a JPEG 2000 codestream's SIZ segment.

    Raises
    ------
    InputError
        If there is none, or it declares more tiles than are accepted.
    """
    if frame.startswith(_JP2_MAGIC):
        raise _refused("a JP2 file in place of a codestream")
    if not frame.startswith(_J2K_START):
        raise _refused("no JPEG 2000 codestream")
    try:
        x, y, x0, y0, tile_x, tile_y, tx0, ty0, components = struct.unpack_from(">8IH", frame, 8)
        precision, sub_x, sub_y = struct.unpack_from(">3B", frame, 42)
    except struct.error:
        raise _refused("a codestream that breaks off") from None
    if not (tile_x and tile_y and x > x0 >= tx0 and y > y0 >= ty0 and (sub_x, sub_y) == (1, 1)):
        raise _refused("a codestream whose sizes contradict each other")
    tiles = -(-(x - tx0) // tile_x) * -(-(y - ty0) // tile_y)
    if tiles > _MAX_TILES:
        raise _refused(f"a codestream of {tiles} tiles")
    return Declared(y - y0, x - x0, components, (precision & 0x7F) + 1, 0x51)


def jpeg_size(frame: bytes) -> Declared:
    """Read the start-of-frame segment of a JPEG or JPEG-LS stream.

    Raises
    ------
    InputError
        If there is none before the first scan, or the stream has no end: a decoder may go on for
        long after the last byte of such a one.
    """
    if frame[:2] != b"\xff\xd8":
        raise _refused("no JPEG stream")
    if not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise _refused("a JPEG stream that breaks off")
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:  # noqa: PLR2004 - start of any marker
        marker = frame[at + 1]
        if marker == 0xFF or marker in _STANDALONE:  # noqa: PLR2004 - fill byte
            at += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        if marker in _FRAME_MARKERS and at + 10 <= len(frame):
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, at + 4)
            return Declared(rows, columns, components, precision, marker)
        if marker == _START_OF_SCAN:
            break
        at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    raise _refused("a JPEG stream without a frame header")


def _refused(what: str) -> InputError:
    return InputError(
        f"the pixel data hold {what}",
        accepted="a whole codestream of the size that the header declares",
        remedy="export the series again, uncompressed if need be",
    )
