"""Whether the pixel data that a header ends before are all there, told without decoding them."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = ["Encoding", "pixel_data_whole"]

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_END: Final = b"\xfe\xff\xdd\xe0"


class Encoding(NamedTuple):
    """How elements are encoded.

    Attributes
    ----------
    implicit
        Whether elements have no VR.
    little
        Whether numbers are little endian.
    """

    implicit: bool
    little: bool


def pixel_data_whole(data: bytes, at: int, encoding: Encoding) -> bool:
    """Tell whether the pixel data element at an offset lies inside the file.

    Parameters
    ----------
    data
        The whole file.
    at
        Where the element begins.
    encoding
        How it is encoded.

    Returns
    -------
    bool
        For encapsulated data: whether the last fragment is there and the delimiter after it
        (PS3.5 A.4).
    """
    order = "<" if encoding.little else ">"
    value = at + (8 if encoding.implicit else 12)
    if value > len(data):
        return False
    (length,) = struct.unpack_from(order + "I", data, value - 4)
    if length != _UNDEFINED:
        return bool(value + length <= len(data))
    while data[value : value + 4] == _ITEM and value + 8 <= len(data):
        value += 8 + int.from_bytes(data[value + 4 : value + 8], "little")
    return data[value : value + 4] == _END
