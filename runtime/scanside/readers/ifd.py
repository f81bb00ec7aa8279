"""The image file directories of TIFF and of EXIF, whose blocks are small TIFF files.

References
----------
TIFF Revision 6.0 (Adobe, 1992), sections 2 and 8; the BigTIFF design of libtiff (2007).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from scanside.errors import InputError
from scanside.readers.structure import check_orientation, damaged, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MAGICS", "MAX_PAGES", "Tag", "Tags", "check_exif", "directories", "refused"]

MAGICS: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
"""Little- and big-endian TIFF, little- and big-endian BigTIFF."""

MAX_PAGES: Final = 4096
"""Most pages in one file: over ten times the slices of a usual volume."""

_BIG: Final = 43
_BIG_OFFSET: Final = 8
_BYTES: Final = (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_SIZES: Final = {**dict(enumerate(_BYTES, start=1)), 16: 8, 17: 8, 18: 8}
"""Bytes of one value, by field type; types that are not known are skipped."""

_UNSIGNED: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
"""The field types that hold whole numbers, as codes of `struct`."""

_FEW: Final = 16
"""Most values of a field that has one a channel."""

_PLAIN: Final = "save it again as PNG or as plain TIFF: grey (BlackIsZero) or RGB, uncompressed"


class Tag(IntEnum):
    """The fields of a page that say where and how its pixels are stored (TIFF 6.0, section 8)."""

    NewSubfileType = 254
    ImageWidth = 256
    ImageLength = 257
    BitsPerSample = 258
    Compression = 259
    PhotometricInterpretation = 262
    FillOrder = 266
    StripOffsets = 273
    Orientation = 274
    SamplesPerPixel = 277
    RowsPerStrip = 278
    StripByteCounts = 279
    PlanarConfiguration = 284
    Predictor = 317
    TileWidth = 322
    TileLength = 323
    TileOffsets = 324
    TileByteCounts = 325
    ExtraSamples = 338
    SampleFormat = 339


_Value = TypeVar("_Value")


class Tags(NamedTuple):
    """One image file directory: by field its type, count and the position of its value."""

    data: memoryview
    order: str
    fields: dict[int, tuple[int, int, int]]

    def many(self, tag: Tag, most: int = _FEW) -> tuple[int, ...]:
        """Return the values of a field, up to `most`; none if it is not there."""
        if tag not in self.fields:
            return ()
        kind, count, position = self.fields[tag]
        if kind not in _UNSIGNED or not 0 < count <= most:
            raise damaged("TIFF", f"{tag.name} holds {count} values of type {kind}")
        return unpack("TIFF", f"{self.order}{count}{_UNSIGNED[kind]}", self.data, position)

    def one(self, tag: Tag, default: int) -> int:
        """Return the value of a field; if it has one for each channel, they must agree."""
        values = self.many(tag) or (default,)
        if len(set(values)) > 1:
            raise refused(f"{tag.name} {list(values)}", "channels of one type")
        return values[0]

    def known(
        self, tag: Tag, default: int, meanings: Mapping[int, _Value], accepted: str
    ) -> _Value:
        """Return the meaning of a field's value, refusing a value that has none here."""
        value = self.one(tag, default)
        if value not in meanings:
            raise refused(f"{tag.name} {value}", accepted)
        return meanings[value]


def refused(given: str, accepted: str) -> InputError:
    """Return the error for a page that is intact, but not of a form that is read here."""
    return InputError(f"the TIFF page has {given}", accepted=accepted, remedy=_PLAIN)


def directories(data: memoryview) -> Iterator[Tags]:
    """Give the directories of a TIFF file, one a page.

    Raises
    ------
    InputError
        If a directory or one of its values lies outside the file, if they form a loop, or if
        there are more than `MAX_PAGES`.
    """
    order = "<" if bytes(data[:2]) == b"II" else ">"
    version, size, zero = unpack("TIFF", order + "HHH", data, 2)
    big = version == _BIG
    if big and (size, zero) != (_BIG_OFFSET, 0):
        raise damaged("TIFF", "its BigTIFF header is not valid")
    offset: int = unpack("TIFF", order + ("8xQ" if big else "4xI"), data)[0]
    seen: set[int] = set()
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


def _directory(data: memoryview, order: str, offset: int, *, big: bool) -> tuple[Tags, int]:
    """Read one directory and the offset of the next."""
    head, word = ("Q", "Q") if big else ("H", "I")
    entry, room = struct.Struct(f"{order}HH{word}"), struct.calcsize(f"={word}")
    (entries,) = unpack("TIFF", order + head, data, offset)
    start = offset + struct.calcsize(f"={head}")
    stop = start + entries * (entry.size + room)
    (following,) = unpack("TIFF", order + word, data, stop)
    fields: dict[int, tuple[int, int, int]] = {}
    for place in range(start, stop, entry.size + room):
        tag, kind, count = entry.unpack_from(data, place)
        size, position = _SIZES.get(kind, 0) * count, place + entry.size
        if size > room:
            (position,) = unpack("TIFF", order + word, data, position)
        if tag in fields or position + size > len(data):
            raise damaged("TIFF", f"field {tag} is given twice or lies outside it")
        fields[tag] = (kind, count, position)
    return Tags(data, order, fields), following


def check_exif(exif: memoryview) -> None:
    """Refuse a picture whose EXIF block, itself a small TIFF, declares it to be turned.

    Raises
    ------
    InputError
        If it is, or if the block cannot be read: the picture might be lying on its side.
    """
    block = exif[6:] if bytes(exif[:6]) == b"Exif\x00\x00" else exif
    try:
        if not bytes(block[:4]).startswith(MAGICS):
            raise damaged("TIFF", "no magic number")
        first = next(directories(block), None)  # a second one would describe a thumbnail
        orientation = first.one(Tag.Orientation, 1) if first else 1
    except InputError as error:
        raise InputError(
            f"the EXIF block of the image cannot be read ({error.given})",
            remedy="save the image again without EXIF, upright",
        ) from None
    check_orientation(orientation)
