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
uncompressed, LZW, Deflate and PackBits; with LZW and Deflate the horizontal predictor for
integers and the floating-point one for float32.
Everything else is refused by name, in particular palettes, WhiteIsZero, CMYK, YCbCr and
JPEG-in-TIFF.

References
----------
TIFF Revision 6.0 (Adobe, 1992), section 14 for the horizontal predictor; Adobe Photoshop TIFF
Technical Note 3 (2005) for the floating-point one.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import InputError
from scanside.preprocess import MAX_SIDE
from scanside.readers.compression import DECOMPRESSORS
from scanside.readers.ifd import Tag, Tags, directories, refused
from scanside.readers.structure import Container, check_orientation, check_side, damaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Layout", "decode", "inspect"]


_PREDICTED: Final = (5, 8, 32946)
"""Compressions that a predictor goes with: LZW and Deflate. libtiff ignores it with others."""

_HORIZONTAL: Final = 2
_FLOATING: Final = 3


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
    decompress
        The function that turns a segment into bytes of pixels.
    predictor
        1: none; 2: rows hold horizontal differences; 3: of bytes, most significant first.
    planar
        Whether each channel has segments of its own.
    tiled
        Whether the segments are tiles, which have their full size at the edges too.
    across, down
        Size of a tile or strip in pixels.
    segments
        How many there are.
    where
        The fields that hold offset and length in bytes of each, row by row, plane by plane. They
        are read when the page is: thousands of pages may share one list of thousands.
    """

    width: int
    height: int
    samples: int
    dtype: np.dtype[np.generic]
    decompress: Callable[[memoryview, int], bytes | memoryview]
    predictor: int
    planar: bool
    tiled: bool
    across: int
    down: int
    segments: int
    where: Tags


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
    layouts = tuple(_layout(tags, page) for page, tags in enumerate(directories(data), start=1))
    if not layouts:
        raise damaged("TIFF", "it has no page")
    return Container("TIFF", tuple((page.width, page.height) for page in layouts), layouts=layouts)


def decode(data: memoryview, page: Layout) -> NDArray[np.generic]:
    """Read the pixels of one page.

    Parameters
    ----------
    data
        The whole file.
    page
        The page's layout, as `inspect` found it.

    Returns
    -------
    ndarray
        ``[height, width, samples]``, the stored values in native byte order.

    Raises
    ------
    InputError
        If a strip or tile does not hold exactly the pixels that it should.
    """
    depth = 1 if page.planar else page.samples
    pixels = np.empty((page.height, page.width, page.samples), page.dtype.newbyteorder("="))
    planes = [slice(n, n + 1) for n in range(page.samples)] if page.planar else [slice(None)]
    places = product(planes, range(0, page.height, page.down), range(0, page.width, page.across))
    segments = _segments(page.where._replace(data=data), page.segments, tiled=page.tiled)
    for (plane, top, left), (start, length) in zip(places, segments, strict=True):
        rows = page.down if page.tiled else min(page.down, page.height - top)
        size = rows * page.across * depth * page.dtype.itemsize
        try:
            raw = page.decompress(data[start : start + length], size)
        except ValueError as error:
            raise damaged("TIFF", f"the strip or tile at byte {start}: {error}") from None
        block = _unpredicted(raw, page).reshape(rows, page.across, depth)
        target = pixels[top : top + rows, left : left + page.across, plane]
        target[...] = block[: target.shape[0], : target.shape[1]]
    return pixels


def _unpredicted(raw: bytes | memoryview, page: Layout) -> NDArray[np.generic]:
    """Return the values of a strip or tile, its predictor undone."""
    depth = 1 if page.planar else page.samples
    if page.predictor == _FLOATING:
        differences = np.frombuffer(raw, np.uint8).reshape(-1, page.across * 4, depth)
        planes = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(-1, 4, page.across * depth)
        return np.ascontiguousarray(planes.swapaxes(1, 2)).view(">f4")
    values = np.frombuffer(raw, page.dtype).reshape(-1, page.across, depth)
    if page.predictor == _HORIZONTAL:
        return np.cumsum(values, axis=1, dtype=page.dtype.newbyteorder("="))
    return values


def _layout(tags: Tags, page: int) -> Layout:
    try:
        return _checked_layout(tags)
    except InputError as error:
        given = f"page {page}: {error.given}"
        raise InputError(given, accepted=error.accepted, remedy=error.remedy) from None


def _checked_layout(tags: Tags) -> Layout:
    width, height = tags.one(Tag.ImageWidth, 0), tags.one(Tag.ImageLength, 0)
    check_side(width, height)
    check_orientation(tags.one(Tag.Orientation, 1))
    tags.known(Tag.NewSubfileType, 0, {0: None, 2: None}, "pictures, no thumbnails or masks")
    tags.known(Tag.FillOrder, 1, {1: None}, "FillOrder 1, the first pixel in the high bit")
    code = _code(tags)
    samples, tiled = _samples(tags), Tag.TileWidth in tags.fields
    planar = tags.known(Tag.PlanarConfiguration, 1, {1: False, 2: True}, "chunky or planar")
    across = tags.one(Tag.TileWidth, 0) if tiled else width
    down = tags.one(Tag.TileLength, 0) if tiled else min(tags.one(Tag.RowsPerStrip, height), height)
    if not (0 < across <= MAX_SIDE and 0 < down <= MAX_SIDE):
        raise damaged("TIFF", f"its tiles or strips have {across} x {down} pixels")
    count = (samples if planar else 1) * -(-height // down) * -(-width // across)
    _segments(tags, count, tiled=tiled)
    return Layout(
        width=width,
        height=height,
        samples=samples,
        dtype=np.dtype(tags.order + code),
        decompress=tags.known(
            Tag.Compression, 1, DECOMPRESSORS, "uncompressed, LZW, Deflate or PackBits"
        ),
        predictor=_predictor(tags, code),
        planar=planar,
        tiled=tiled,
        across=across,
        down=down,
        segments=count,
        where=Tags(
            data=memoryview(b""),
            order=tags.order,
            fields={tag: tags.fields[tag] for tag in _placing(tiled=tiled)},
        ),
    )


def _code(tags: Tags) -> str:
    """Return the numpy code of the stored type."""
    codes = {(8, 1): "u1", (16, 1): "u2", (16, 2): "i2", (32, 3): "f4"}
    bits, form = tags.one(Tag.BitsPerSample, 1), tags.one(Tag.SampleFormat, 1)
    if (bits, form) not in codes:
        raise refused(
            f"BitsPerSample {bits} and SampleFormat {form}", "uint8, uint16, int16 and float32"
        )
    return codes[bits, form]


def _predictor(tags: Tags, code: str) -> int:
    fitting = _FLOATING if code == "f4" else _HORIZONTAL
    if tags.one(Tag.Compression, 1) not in _PREDICTED:
        fitting = 1
    return tags.known(
        Tag.Predictor,
        1,
        {1: 1, fitting: fitting},
        "none; with LZW or Deflate also 2 for integers and 3 for float32",
    )


def _samples(tags: Tags) -> int:
    """Return the number of channels, colour and alpha, and refuse channels of no known meaning."""
    colors = tags.known(
        Tag.PhotometricInterpretation, -1, {1: 1, 2: 3}, "1 (grey, 0 is black) or 2 (RGB)"
    )
    samples, extra = tags.one(Tag.SamplesPerPixel, 1), tags.many(Tag.ExtraSamples)
    if samples != colors + len(extra) or extra not in {(), (1,), (2,)}:
        raise refused(
            f"{samples} channels where {colors} are grey or RGB, and ExtraSamples {extra}",
            "grey or RGB, alone or with one channel that is declared as alpha",
        )
    return samples


def _placing(*, tiled: bool) -> tuple[Tag, Tag]:
    """Return the fields that say where strips or tiles lie."""
    if tiled:
        return Tag.TileOffsets, Tag.TileByteCounts
    return Tag.StripOffsets, Tag.StripByteCounts


def _segments(tags: Tags, count: int, *, tiled: bool) -> tuple[tuple[int, int], ...]:
    """Return where the strips or tiles lie, refusing any outside the file."""
    offsets, lengths = (tags.many(tag, count) for tag in _placing(tiled=tiled))
    if not len(offsets) == len(lengths) == count:
        raise damaged("TIFF", f"{len(offsets)} strips or tiles where the page needs {count}")
    segments = tuple(zip(offsets, lengths, strict=True))
    if any(start + length > len(tags.data) for start, length in segments):
        raise damaged("TIFF", "the pixels lie partly outside it")
    return segments
