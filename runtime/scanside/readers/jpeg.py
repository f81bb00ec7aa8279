"""JPEG: the walk over the markers, and a proof that the picture is there to its end.

Accepted: baseline and extended sequential Huffman JPEG of 8 bits in one scan, grey or three
colours. Refused: CMYK, 12 bits, lossless, arithmetic coding, an EXIF block that turns the
picture; and progressive or several scans, because cut between two scans they decode to a
blurred or discoloured picture that nothing tells apart from a whole one.

JPEG is lossy and has no checksum: damage inside the scan that keeps the markers and the length
cannot be seen. A file that breaks off can: its last marker is missing, or, where a program has
put it back, `beyond_end` changes the picture.

References
----------
ITU-T T.81 (1992), annex B for the markers; JFIF (ITU-T T.871) and Adobe's APP14 for colours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from scanside.errors import InputError
from scanside.readers.ifd import check_exif
from scanside.readers.structure import Container, check_side, check_trailing, damaged, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAGIC", "beyond_end", "inspect"]

MAGIC: Final = b"\xff\xd8\xff"

_SOI_SIZE: Final = 2
_BITS: Final = 8
_PREFIX: Final = 0xFF
_EOI, _SOS, _DHT, _JPG, _DAC = 0xD9, 0xDA, 0xC4, 0xC8, 0xCC
_APP0, _APP1, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_SEQUENTIAL: Final = (0xC0, 0xC1)
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC}

_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""What ends a scan: 0xFF with anything but stuffing, fill bytes and restart markers."""


def inspect(data: memoryview) -> Container:
    """Walk the markers of a JPEG file.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    InputError
        If it breaks off before its end marker, or the picture is not accepted.
    """
    ranges = [(0, _SOI_SIZE)]
    frames: list[tuple[int, int, int]] = []
    scans: list[int] = []
    stop = 0
    for marker, start, stop in _segments(data):
        body = data[start + 4 : stop]
        if marker in _FRAMES:
            frames.append(_frame(marker, body))
        elif marker == _SOS:
            scans.append(body[0])
        elif marker == _APP1 and bytes(body[:6]) == b"Exif\x00\x00":
            check_exif(body)
        if not _is_comment(marker):
            ranges.append((start, stop))
    if len(frames) != 1 or not scans:
        raise damaged("JPEG", f"it has {len(frames)} frames and {len(scans)} scans")
    width, height, channels = frames[0]
    if scans != [channels]:
        raise _refused(f"stores {channels} channels in scans of {scans}")
    check_trailing("JPEG", data[stop:])
    return Container("JPEG", ((width, height),), channels=channels, ranges=tuple(ranges))


def beyond_end(picture: bytes, width: int) -> bytes:
    """Put other data in place of the end marker.

    A decoder that has read its last pixel never looks at it, so that the picture stays the
    same. One that has run out of data fills in grey with an end marker, and noise with this.

    Parameters
    ----------
    picture
        A JPEG file that ends with its end marker.
    width
        Its width in pixels; the noise lasts for a row of blocks at least (64 coefficients of up
        to 8 bits for 3 channels of 8 rows).
    """
    # A last 0xFF would make a marker of the noise, and a marker ends the data as well.
    return picture[:-2].rstrip(b"\xff") + b"\x55" * (24 * (width + 16))


def _segments(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Give each marker, and where its segment starts and stops; a scan includes its data."""
    start, marker = _SOI_SIZE, 0
    while marker != _EOI:
        prefix, marker = unpack("JPEG", ">BB", data, start)
        if prefix != _PREFIX:
            raise damaged("JPEG", f"there is no marker at byte {start}")
        if marker == _PREFIX:  # a fill byte
            start += 1
            continue
        stop = start + 2
        if marker != _EOI:
            stop += unpack("JPEG", ">H", data, stop)[0]
            if not start + 4 < stop <= len(data):
                raise damaged("JPEG", f"it breaks off inside the segment at byte {start}")
        if marker == _SOS:
            end = _MARKER.search(data, stop)
            stop = end.start() if end else len(data)
        yield marker, start, stop
        start = stop


def _frame(marker: int, body: memoryview) -> tuple[int, int, int]:
    """Return width, height and number of channels."""
    bits, height, width, channels = unpack("JPEG", ">BHHB", body)
    if marker not in _SEQUENTIAL or bits != _BITS:
        raise _refused(f"is of the process SOF{marker - 0xC0} with {bits} bits")
    if channels not in {1, 3}:
        raise _refused(f"has {channels} channels")
    check_side(width, height)
    return width, height, channels


def _is_comment(marker: int) -> bool:
    """Tell whether a segment says nothing about pixels; APP0 and APP14 tell the colour space."""
    return marker == _COM or (_APP0 <= marker <= _APP15 and marker not in {_APP0, _APP14})


def _refused(what: str) -> InputError:
    return InputError(
        f"the JPEG {what}",
        accepted="sequential JPEG of 8 bits in one scan, grey or three colours",
        remedy="save the image again, best as PNG, which loses nothing",
    )
