"""Builders of image files, byte by byte: what no encoder at hand would write."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[Any]

_SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def build_png(
    pixels: Array, color: int, depth: int | None = None, *, extra: bytes = b"", interlace: int = 0
) -> bytes:
    """PNG of `pixels` [H, W] or [H, W, C]; `extra` chunks go between IHDR and IDAT."""
    depth = pixels.dtype.itemsize * 8 if depth is None else depth
    height, width = pixels.shape[:2]
    if depth < 8:
        bits = np.unpackbits(pixels[..., np.newaxis], axis=-1)[..., -depth:]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    else:
        rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(raw))
        + png_chunk(b"IEND", b"")
    )


def build_tiff(
    *pages: Array,
    order: Literal["<", ">"] = "<",
    big: bool = False,
    compression: int = 1,
    compress: Callable[[bytes], bytes] = bytes,
    predictor: int = 1,
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    rows: int | None = None,
    tags: dict[int, list[int] | None] | None = None,
) -> bytes:
    """TIFF of pages [H, W] or [H, W, C]; `tags` overrides or (None) leaves out fields."""
    word, head = ("Q", "Q") if big else ("I", "H")
    data = bytearray(b"II" if order == "<" else b"MM")
    data += struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
    link = len(data) - struct.calcsize("=" + word)
    for page in pages:
        pixels = page.reshape(*page.shape[:2], -1)
        offsets, counts = [], []
        for part in _segments(pixels, planar=planar, tile=tile, rows=rows):
            if predictor == 2:
                part = np.diff(part, axis=1, prepend=part.dtype.type(0))  # noqa: PLW2901
            encoded = compress(part.astype(part.dtype.newbyteorder(order)).tobytes())
            offsets.append(len(data))
            counts.append(len(encoded))
            data += encoded
        fields = _fields(pixels, compression, predictor, planar=planar, rows=rows)
        fields |= {322: [tile[1]], 323: [tile[0]]} if tile else {}
        fields |= {324: offsets, 325: counts} if tile else {273: offsets, 279: counts}
        for tag, value in (tags or {}).items():
            fields.pop(tag, None)
            fields |= {tag: value} if value is not None else {}
        entries = b""
        for tag, values in sorted(fields.items()):
            packed = struct.pack(f"{order}{len(values)}{word}", *values)
            if len(values) > 1:
                position = struct.pack(order + word, len(data))
                data += packed
                packed = position
            entries += struct.pack(f"{order}HH{word}", tag, 16 if big else 4, len(values)) + packed
        struct.pack_into(order + word, data, link, len(data))
        data += struct.pack(order + head, len(fields)) + entries
        link = len(data)
        data += struct.pack(order + word, 0)
    return bytes(data)


def _segments(
    pixels: Array, *, planar: bool, tile: tuple[int, int] | None, rows: int | None
) -> list[Array]:
    height, width, channels = pixels.shape
    planes = np.split(pixels, channels, axis=2) if planar else [pixels]
    if tile is None:
        return [
            p[y : y + (rows or height)] for p in planes for y in range(0, height, rows or height)
        ]
    down, across = tile
    pad = ((0, -height % down), (0, -width % across), (0, 0))
    return [
        np.pad(p, pad)[y : y + down, x : x + across]
        for p in planes
        for y in range(0, height, down)
        for x in range(0, width, across)
    ]


def _fields(
    pixels: Array, compression: int, predictor: int, *, planar: bool, rows: int | None
) -> dict[int, list[int]]:
    height, width, channels = pixels.shape
    colors = 3 if channels >= 3 else 1
    return {
        256: [width],
        257: [height],
        258: [pixels.dtype.itemsize * 8] * channels,
        259: [compression],
        262: [2 if colors == 3 else 1],
        277: [channels],
        278: [rows or height],
        284: [2 if planar else 1],
        317: [predictor],
        339: [_SAMPLE_FORMAT[pixels.dtype.kind]] * channels,
    } | ({338: [2]} if channels > colors else {})


def build_exif(orientation: int, order: str = "<") -> bytes:
    """EXIF block (a TIFF without pixels) with an orientation."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + struct.pack(order + "I", 0)


def build_webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def encode(suffix: str, pixels: Array, *options: int) -> bytes:
    """Encode RGB or grey pixels with OpenCV."""
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, order[pixels.shape[2]])
    done, data = cv2.imencode(suffix, pixels, list(options))
    assert done
    return data.tobytes()


class Builders:
    """The builders above, for tests."""

    png = staticmethod(build_png)
    png_chunk = staticmethod(png_chunk)
    tiff = staticmethod(build_tiff)
    exif = staticmethod(build_exif)
    webp = staticmethod(build_webp)
    encode = staticmethod(encode)


@pytest.fixture(scope="session")
def build() -> Builders:
    return Builders()


@pytest.fixture(scope="session")
def picture() -> Array:
    """A smooth RGB picture [40, 52, 3] of uint8: no side divides by 8 or 16."""
    y, x = np.mgrid[:40, :52]
    return np.dstack([y * 4, x * 3, (x + y) * 2]).astype(np.uint8)
