"""The compressions of TIFF, strict: exactly the bytes expected, or an error.

LZW is resolved in numpy. An entry of its table is a string already written plus the byte after
it. Both lie side by side in the output, so that each code is a copy from an earlier place, and
a whole table's worth of codes (up to 3,838) is resolved at once by following those places to
literal bytes: about 10 ms for a 256 x 256 RGB slice, where a loop over codes takes 25 ms.

References
----------
TIFF Revision 6.0 (Adobe, 1992): section 9 for PackBits; section 13 for LZW, whose codes are 9
to 12 bits, most significant bit first, with the width growing one code early; 256 clears the
table and 257 ends the data. Deflate: Adobe Photoshop TIFF Technical Notes (2002).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["DECOMPRESSORS", "deflate", "lzw", "packbits"]

_Bytes = TypeVar("_Bytes", bytes, memoryview)

_CLEAR: Final = 256
_END: Final = 257
_NO_OPERATION: Final = 128
_FIRST: Final = 258
"""The table's first free entry."""

_SHORTEST: Final = 256
"""Fewest bytes a table must give on average. Writers clear a full table (over 3,800 bytes), or
one of 10,000 bytes that no longer pays (libtiff). Without a bound, data made of clears alone
would take minutes."""

_FREE: Final = _FIRST + np.maximum(np.arange(4096 - _FIRST + 2) - 1, 0)
"""The free entry at the time each code after a clear is read: the first code adds none."""

_WIDTHS: Final = 9 + np.searchsorted([511, 1023, 2047], _FREE, side="right")
_ENDS: Final = np.cumsum(_WIDTHS)
_STARTS: Final = _ENDS - _WIDTHS
_SPAN: Final = int(_ENDS[-1]) // 8 + 5
"""Bytes that the codes of one table can lie in, starting at any bit."""


def deflate(data: memoryview, size: int) -> bytes:
    """Decompress a zlib stream, its checksum included.

    Parameters
    ----------
    data
        The bytes of one strip or tile; so in the functions below.
    size
        The exact number of bytes of pixels that they must give; so below.

    Raises
    ------
    ValueError
        If the data is not valid or gives more or less than `size` bytes; so below.
    """
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(raw) == size and not stream.eof:
        raise ValueError("its checksum is missing")
    return _exactly(raw, size)


def packbits(data: memoryview, size: int) -> bytes:
    """Expand runs: a head of 0 to 127 copies bytes, one above 128 repeats the next byte."""
    parts: list[bytes | memoryview] = []
    place = found = 0
    while place < len(data) and found < size:
        head = data[place]
        if head < _NO_OPERATION:
            parts.append(data[place + 1 : place + 2 + head])
            place += 2 + head
        elif head > _NO_OPERATION:
            parts.append(bytes(data[place + 1 : place + 2]) * (257 - head))
            place += 2
        else:
            place += 1
            continue
        found += len(parts[-1])
    return _exactly(b"".join(parts), size)


def lzw(data: memoryview, size: int) -> bytes:
    """Decompress LZW, one table at a time."""
    tables: list[bytes] = []
    found = bit = 0
    for _ in range(2 + size // _SHORTEST):
        codes = _read(data, bit)
        breaks = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        # Old writers leave the end out: then the number of bytes is the only proof.
        count = int(breaks[0]) if len(breaks) else len(codes)
        if count:
            tables.append(_expand(codes[:count], size - found))
            found += len(tables[-1])
        if count == len(codes) or codes[count] == _END:
            break
        bit += int(_ENDS[count])
    return _exactly(b"".join(tables), size)


def _exactly(raw: _Bytes, size: int) -> _Bytes:
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes of pixels in place of {size}")
    return raw


DECOMPRESSORS: Final[dict[int, Callable[[memoryview, int], bytes | memoryview]]] = {
    1: _exactly,
    5: lzw,
    8: deflate,
    32773: packbits,
    32946: deflate,
}
"""By the value of TIFF's Compression tag."""


def _read(data: memoryview, bit: int) -> NDArray[np.int64]:
    """Read all the codes that one table can have and the data still holds."""
    window = np.zeros(_SPAN, np.int32)
    held = data[bit >> 3 : (bit >> 3) + _SPAN - 3]  # three bytes are read for every code
    window[: len(held)] = np.frombuffer(held, np.uint8)
    count = int(np.searchsorted(_ENDS, len(data) * 8 - bit, side="right"))
    place, width = (bit & 7) + _STARTS[:count], _WIDTHS[:count]
    byte = place >> 3
    word = (window[byte] << 16) | (window[byte + 1] << 8) | window[byte + 2]
    return np.asarray((word >> (24 - width - (place & 7))) & ((1 << width) - 1), np.int64)


def _expand(codes: NDArray[np.int64], room: int) -> bytes:
    """Turn the codes of one table into bytes."""
    index = np.arange(len(codes))
    literal = codes < _CLEAR
    # The code at `source` was followed by the byte that completed this code's entry.
    source = np.where(literal, index, codes - _FIRST)
    if (source >= index)[~literal].any():
        raise ValueError("an LZW code that is not in the table yet")
    length = 1 + _depth(source, ~literal)
    begin = np.cumsum(length) - length
    total = int(length.sum())
    if total > room:
        raise ValueError("more LZW data than the strip or tile holds")
    origin = np.arange(total) - np.repeat(begin - begin[source], length)
    written = np.zeros(total, np.uint8)
    written[begin[literal]] = codes[literal]
    # A byte goes back through the beginnings of its own string, then through those of the string
    # that completed it: under twice the longest string. Each round doubles the stride.
    for _ in range(int(2 * length.max()).bit_length()):
        origin = origin[origin]
    return bytes(written[origin])


def _depth(parent: NDArray[np.int64], steps: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return each node's distance from its root, doubling the stride each round."""
    depth = steps.astype(np.int64)
    while (further := depth[parent]).any():
        depth += further
        parent = parent[parent]
    return depth
