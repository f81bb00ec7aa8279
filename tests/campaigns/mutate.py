"""Structure-aware mutations of DICOM files and NIfTI headers, each made from a seed."""

from __future__ import annotations

import gzip
import random
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dicom", "nifti"]

_LONG: Final = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN"}
_VRS: Final = [
    *_LONG, b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT",
    b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US", b"??", b"\0\0",
]  # fmt: skip
_LENGTHS: Final = [0, 1, 2, 3, 7, 0xFF, 0x7FFF, 0xFFFE, 0xFFFF, 2**31 - 1, 2**32 - 2, 2**32 - 1]
_SYNTAXES: Final = [
    b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.5",
    b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.50", b"1.2.3", b"",
    b"1.2.840.10008.1.2.1.99",
]  # fmt: skip
_DIGITS: Final = [
    b"", b"0", b"-1", b"1e308", b"nan", b"inf", b"1\\2\\3", b"abc", b"99999999999", b"\\", b"\xff",
]  # fmt: skip
_START: Final = 132


class _Element(NamedTuple):
    """Where an element of explicit little endian lies."""

    start: int
    length_at: int
    length_size: int
    value: int
    end: int


def _elements(data: bytes) -> list[_Element]:
    """Walk elements of explicit VR, into sequences and items too."""
    found = []
    at = _START
    while at + 8 <= len(data):
        group = data[at : at + 2]
        if group == b"\xfe\xff":  # item, delimiters
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            found.append(_Element(at, at + 4, 4, at + 8, at + 8))
            pixel = length not in (0, 2**32 - 1) and data[at + 8 : at + 10] not in (b"\x18\x00",)
            inside = pixel and found and length > 8 and data[at + 12 : at + 14].isalpha()
            at += 8 if inside or length in (0, 2**32 - 1) else 8 + length
            continue
        long = data[at + 4 : at + 6] in _LONG
        size = 4 if long else 2
        length_at = at + (8 if long else 6)
        length = int.from_bytes(data[length_at : length_at + size], "little")
        value = length_at + size
        if data[at + 4 : at + 6] == b"SQ" or length == 2**32 - 1:
            found.append(_Element(at, length_at, size, value, value))
            at = value
            continue
        found.append(_Element(at, length_at, size, value, min(value + length, len(data))))
        at = value + length
    return found


def _length(data: bytearray, element: _Element, rng: random.Random) -> None:
    length = rng.choice([*_LENGTHS, rng.randrange(2**16), element.end - element.value + 1])
    size = element.length_size
    data[element.length_at : element.length_at + size] = (length % 256**size).to_bytes(
        size, "little"
    )


def _vr(data: bytearray, element: _Element, rng: random.Random) -> None:
    data[element.start + 4 : element.start + 6] = rng.choice(_VRS)


def _tag(data: bytearray, element: _Element, rng: random.Random) -> None:
    other = rng.choice(_elements(bytes(data)) or [element])
    data[element.start : element.start + 4] = data[other.start : other.start + 4]


def _value(data: bytearray, element: _Element, rng: random.Random) -> None:
    span = element.end - element.value
    if not span:
        return
    for _ in range(rng.randint(1, 4)):
        data[element.value + rng.randrange(span)] = rng.randrange(256)


def _text(data: bytearray, element: _Element, rng: random.Random) -> None:
    """Put another value of the same padded length, such as a number that is none."""
    span = element.end - element.value
    data[element.value : element.end] = rng.choice(_DIGITS)[:span].ljust(span)


def _number(data: bytearray, element: _Element, rng: random.Random) -> None:
    span = min(element.end - element.value, 8)
    data[element.value : element.value + span] = rng.choice(
        [b"\0" * span, b"\xff" * span, rng.randbytes(span)]
    )


def _delete(data: bytearray, element: _Element, _: random.Random) -> None:
    del data[element.start : element.end]


def _double(data: bytearray, element: _Element, rng: random.Random) -> None:
    at = rng.choice(_elements(bytes(data))).start
    data[at:at] = data[element.start : element.end]


def _resize(data: bytearray, element: _Element, rng: random.Random) -> None:
    """Change the length of a value and its declared length alike."""
    size = element.length_size
    content = rng.randbytes(rng.choice([0, 1, 2, 5, 64, 300]))
    data[element.value : element.end] = content
    data[element.length_at : element.length_at + size] = len(content).to_bytes(size, "little")


def _nest(data: bytearray, element: _Element, rng: random.Random) -> None:
    """Put sequences in each other."""
    depth = rng.choice([1, 10, 200, 2000])
    data[element.start : element.start] = (
        b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    )


def _cut(data: bytearray, element: _Element, rng: random.Random) -> None:
    del data[rng.choice([element.start, element.value, rng.randrange(_START, len(data))]) :]


def _syntax(data: bytearray, _: _Element, rng: random.Random) -> None:
    """Declare another transfer syntax than the data has."""
    at = data.find(b"\x02\x00\x10\x00UI")
    if at < 0:
        return
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    other = rng.choice(_SYNTAXES)
    other += b"\0" * (len(other) % 2)
    data[at + 6 : at + 8 + length] = len(other).to_bytes(2, "little") + other


def _meta(data: bytearray, _: _Element, rng: random.Random) -> None:
    data[rng.randrange(128, min(320, len(data)))] = rng.randrange(256)


def _pixels(data: bytearray, _: _Element, rng: random.Random) -> None:
    """Change bytes of the pixel data: headers of codestreams and items, mostly."""
    at = data.rfind(b"\xe0\x7f\x10\x00")
    if at < 0:
        return
    span = len(data) - at
    for _each in range(rng.choice([1, 1, 2, 8, 40])):
        offset = rng.choice([rng.randrange(span), rng.randrange(min(span, 200))])
        data[at + offset] = rng.choice([0, 0xFF, rng.randrange(256)])


_MUTATIONS: Final[list[Callable[[bytearray, _Element, random.Random], None]]] = [
    _length, _length, _vr, _tag, _value, _value, _text, _text, _number, _number, _delete, _double,
    _resize, _nest, _cut, _syntax, _meta, _pixels, _pixels,
]  # fmt: skip


def dicom(data: bytes, seed: int) -> bytes:
    """Mutate a DICOM file one to four times."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        found = _elements(bytes(made))
        if not found:
            break
        rng.choice(_MUTATIONS)(made, rng.choice(found), rng)
    return bytes(made)


def nifti(data: bytes, seed: int) -> bytes:
    """Mutate a NIfTI file's header, mostly; the result may be compressed, and damaged again."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(0, min(len(made), 560))
        width = rng.choice([1, 2, 4, 8])
        made[at : at + width] = rng.choice(
            [
                b"\0" * width, b"\xff" * width, rng.randbytes(width),
                struct.pack("<d", rng.choice([float("nan"), float("inf"), 1e300, -1.0]))[:width],
                struct.pack("<f", rng.choice([float("nan"), 1e30, -1.0, 352.0]))[:width],
                struct.pack("<h", rng.choice([-1, 0, 1, 3, 4, 7, 32767]))[:width],
            ]
        )  # fmt: skip
    if rng.random() < 0.1:
        del made[rng.randrange(len(made)) :]
    if rng.random() < 0.3:
        made = bytearray(gzip.compress(bytes(made), 1))
        if rng.random() < 0.3:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)
