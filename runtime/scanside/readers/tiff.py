"""TIFF: where the pages lie and how they are stored, proved before a pixel is decoded.

TIFF is read here and not through OpenCV, because OpenCV reads some of it wrongly without an
error (tried with 4.10, 4.12 and 5.0):

- 8-bit pages pass through libtiff's RGBA conversion, which ignores damage inside LZW, PackBits
  and Deflate strips and multiplies unassociated alpha into the colours;
- planar pages of 16 bits or float come out as uninitialised memory;
- WhiteIsZero is inverted at 8 bits and not at 16; palettes become BGR; orientation is applied;
- a page of a stack is reached by walking all the pages before it.

Accepted: classic TIFF and BigTIFF of either byte order; strips and tiles; chunky and planar;
uint8, uint16, int16 and float32; grey (BlackIsZero) and RGB, with or without alpha;
uncompressed, LZW, Deflate and PackBits; no predictor, or the horizontal one for integers.
Everything else is refused by name, in particular palettes, WhiteIsZero, CMYK, YCbCr and
JPEG-in-TIFF.

References
----------
TIFF Revision 6.0 (Adobe, 1992); the BigTIFF design of libtiff (2007).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from scanside.errors import InputError
from scanside.preprocess import MAX_SIDE
from scanside.readers.structure import Container, check_orientation, check_side, damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["MAGICS", "MAX_PAGES", "Layout", "check_exif", "inspect"]

MAGICS: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
"""Little- and big-endian TIFF, little- and big-endian BigTIFF."""

MAX_PAGES: Final = 4096
"""Most pages in one file: over ten times the slices of a usual volume."""

_BIG: Final = 43
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES_BIG: Final = {**_SIZES, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value, by field type."""

_UNSIGNED: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8"}
"""The field types that hold whole numbers, as numpy codes."""

_HUGE: Final = 2**40
"""Stands for every 64-bit number that is larger: no file is that long."""

_ALPHA: Final = (1, 2)
"""ExtraSamples: associated and unassociated alpha."""

_Value = TypeVar("_Value")


class Layout(NamedTuple):
    """How one page is stored.

    Attributes
    ----------
    width, height
        Size in pixels.
    samples
        Channels with alpha: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    dtype
        Stored type with its byte order.
    compression
        Value of the Compression tag, a key of `scanside.readers.compression.DECOMPRESSORS`.
    predicted
        Whether each row holds horizontal differences.
    planar
        Whether each channel has segments of its own.
    tiled
        Whether the segments are tiles, which have their full size at the edges too.
    across, down
        Size of a tile or strip in pixels.
    segments
        int64 ``[segments, 2]``: offset and length in bytes, row by row, plane by plane.
    """

    width: int
    height: int
    samples: int
    dtype: np.dtype[np.generic]
    compression: int
    predicted: bool
    planar: bool
    tiled: bool
    across: int
    down: int
    segments: NDArray[np.int64]


def inspect(data: memoryview) -> Container:
    """Walk the directories of a TIFF file and prove that all its data is there.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    InputError
        If a page is not accepted, is too large or points outside the file; if the pages form
        a loop; or if there are none or more than `MAX_PAGES`.
    """
    layouts = []
    for tags in _directories(data):
        try:
            layouts.append(_layout(tags, len(data)))
        except InputError as error:
            raise InputError(
                f"page {len(layouts) + 1}: {error.given}",
                accepted=error.accepted,
                remedy=error.remedy,
            ) from None
    if not layouts:
        raise damaged("TIFF", "it has no page")
    return Container("TIFF", tuple((page.width, page.height) for page in layouts), layouts=tuple(layouts))


def check_exif(exif: memoryview) -> None:
    """Refuse a picture whose EXIF block, itself a small TIFF, declares it to be turned.

    Raises
    ------
    InputError
        If it is, or if the block cannot be read: the picture might be lying on its side.
    """
    exif = exif[6:] if exif[:6] == b"Exif\x00\x00" else exif
    if exif[:4] not in MAGICS:
        raise InputError("the EXIF block of the image cannot be read", remedy=_PLAIN)
    for tags in _directories(exif):
        check_orientation(tags.one(274, 1))
        break  # the second directory describes a thumbnail


_PLAIN: Final = "save the image again as PNG or as plain TIFF: uncompressed, BlackIsZero or RGB"


class _Tags(NamedTuple):
    """One image file directory: by tag its type, count and the position of its value."""

    data: memoryview
    order: str
    fields: dict[int, tuple[int, int, int]]

    def many(self, tag: int) -> NDArray[np.int64]:
        if tag not in self.fields:
            return np.zeros(0, np.int64)
        kind, count, position = self.fields[tag]
        if kind not in _UNSIGNED or not count:
            raise damaged("TIFF", f"tag {tag} holds no whole number")
        values = np.frombuffer(self.data, self.order + _UNSIGNED[kind], count, position)
        return np.minimum(values, _HUGE).astype(np.int64)

    def one(self, tag: int, default: int) -> int:
        """Return the value of a tag; one value for each channel must be the same for all."""
        values = self.many(tag) if tag in self.fields else np.array([default])
        if (values != values[0]).any():
            raise InputError(
                f"TIFF tag {tag} differs between channels: {values[:4].tolist()}",
                accepted="channels of one type",
                remedy=_PLAIN,
            )
        return int(values[0])


def _directories(data: memoryview) -> Iterator[_Tags]:
    order = "<" if data[:2] == b"II" else ">"
    seen: set[int] = set()
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == _BIG
        if big and struct.unpack_from(order + "HH", data, 4) != (8, 0):
            raise damaged("TIFF", "its BigTIFF header is not valid")
        (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        while offset:
            if offset in seen:
                raise damaged("TIFF", "its pages form a loop")
            if len(seen) == MAX_PAGES:
                raise InputError(
                    f"the TIFF file has more than {MAX_PAGES} pages",
                    accepted=f"up to {MAX_PAGES} pages a file",
                    remedy="split it into several files",
                )
            seen.add(offset)
            tags, offset = _directory(data, order, offset, big=big)
            yield tags
    except struct.error:
        raise damaged("TIFF", "a directory lies outside it") from None


def _directory(data: memoryview, order: str, offset: int, *, big: bool) -> tuple[_Tags, int]:
    """Read one directory and the offset of the next."""
    sizes, head, word = (_SIZES_BIG, "Q", "Q") if big else (_SIZES, "H", "I")
    entry, room = struct.Struct(f"{order}HH{word}"), struct.calcsize(f"={word}")
    (count,) = struct.unpack_from(order + head, data, offset)
    start = offset + struct.calcsize(f"={head}")
    stop = start + count * (entry.size + room)
    (following,) = struct.unpack_from(order + word, data, stop)
    fields: dict[int, tuple[int, int, int]] = {}
    for place in range(start, stop, entry.size + room):
        tag, kind, values = entry.unpack_from(data, place)
        size, position = sizes.get(kind, 0) * values, place + entry.size
        if size > room:
            (position,) = struct.unpack_from(order + word, data, position)
        if tag in fields or position + size > len(data):
            raise damaged("TIFF", f"tag {tag} is given twice or lies outside it")
        fields[tag] = (kind, values, position)
    return _Tags(data, order, fields), following


def _layout(tags: _Tags, size: int) -> Layout:
    width, height = tags.one(256, 0), tags.one(257, 0)
    check_side(width, height)
    check_orientation(tags.one(274, 1))
    code = _one_of(
        "BitsPerSample and SampleFormat",
        {(8, 1): "u1", (16, 1): "u2", (16, 2): "i2", (32, 3): "f4"},
        (tags.one(258, 1), tags.one(339, 1)),
    )
    predictors = {1: False} if code == "f4" else {1: False, 2: True}
    compressions = {number: number for number in DECOMPRESSORS}
    _one_of("FillOrder", {1: None}, tags.one(266, 1))
    _one_of("NewSubfileType", {0: None, 2: None}, tags.one(254, 0))
    planar = _one_of("PlanarConfiguration", {1: False, 2: True}, tags.one(284, 1))
    samples, tiled = _samples(tags), 322 in tags.fields
    across = tags.one(322, 0) if tiled else width
    down = tags.one(323, 0) if tiled else min(tags.one(278, height), height)
    if not (0 < across <= MAX_SIDE and 0 < down <= MAX_SIDE):
        raise damaged("TIFF", f"its tiles or strips have {across} x {down} pixels")
    planes = samples if planar else 1
    return Layout(
        width=width,
        height=height,
        samples=samples,
        dtype=np.dtype(tags.order + code),
        compression=_one_of("Compression", compressions, tags.one(259, 1)),
        predicted=_one_of("Predictor", predictors, tags.one(317, 1)),
        planar=planar,
        tiled=tiled,
        across=across,
        down=down,
        segments=_segments(tags, tiled, planes * -(-height // down) * -(-width // across), size),
    )
