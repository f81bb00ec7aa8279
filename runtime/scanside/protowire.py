"""The protobuf wire format: fields out of bytes, and into bytes.

Enough of it to walk and to edit an ONNX file without the onnx package. Nothing is copied while
reading: a value is a view of the bytes it came from.

References
----------
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Chunk",
    "Field",
    "damaged",
    "encode_bytes",
    "encode_packed",
    "encode_varint",
    "message",
    "read_fields",
    "read_packed",
    "signed",
    "text",
    "text_field",
    "total",
]

Chunk = bytes | memoryview
"""Encoded bytes: new, or a view of where they came from."""

VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
_KEY_BITS: Final = 3
_MORE: Final = 0x80
_LIMIT: Final = 1 << 64
"""A varint holds 64 bits; a negative one is stored as its two's complement."""


class Field(NamedTuple):
    """A field of a message.

    Attributes
    ----------
    number
        Its number in the message's definition.
    value
        The integer, or a view of the bytes it holds.
    whole
        A view of all of the field, its key included.
    """

    number: int
    value: int | memoryview
    whole: memoryview


def read_fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message.

    Parameters
    ----------
    message
        The message's bytes; they may come from anyone.

    Raises
    ------
    BundleError
        If the bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        start = at
        key, at = _varint(message, at)
        number, wire = key >> _KEY_BITS, key & 7
        if wire == VARINT:
            value, at = _varint(message, at)
            yield Field(number, value, message[start:at])
            continue
        if wire == BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise damaged(f"wire type {wire} at byte {at}")
        if at + size > end:
            raise damaged(f"a field of {size} bytes at byte {at} of {end}")
        yield Field(number, message[at : at + size], message[start : at + size])
        at += size


def read_packed(values: memoryview) -> list[int]:
    """Return the varints of a packed field, as signed 64-bit integers.

    Raises
    ------
    BundleError
        If the last one is cut.
    """
    found, at = [], 0
    while at < len(values):
        value, at = _varint(values, at)
        found.append(signed(value))
    return found


def signed(value: int) -> int:
    """Return a varint as the signed 64-bit integer that it stands for."""
    return value - _LIMIT if value >= _LIMIT // 2 else value


def text_field(holder: memoryview, field: int) -> str:
    """Return the text in a field of a message; empty where the message has none."""
    names = [value for number, value, _ in read_fields(holder) if number == field]
    return text(names[-1]) if names else ""


def text(value: int | memoryview) -> str:
    """Return a field's value as text, which it has to be."""
    try:
        return bytes(message(value)).decode()
    except UnicodeDecodeError:
        raise damaged("a name is not UTF-8") from None


def message(value: int | memoryview) -> memoryview:
    """Return a field's value as bytes, which it has to be."""
    if isinstance(value, int):
        raise damaged("a number where a message or a text belongs")
    return value


def encode_varint(number: int, value: int) -> bytes:
    """Return a field that holds an integer."""
    return _encoded(number << _KEY_BITS | VARINT) + _encoded(value % _LIMIT)


def encode_bytes(number: int, *parts: Chunk) -> tuple[Chunk, ...]:
    """Return a field that holds bytes, in the parts they came in: none of them is copied."""
    return (_encoded(number << _KEY_BITS | BYTES) + _encoded(total(parts)), *parts)


def encode_packed(number: int, values: Iterable[int]) -> bytes:
    """Return a packed field of integers."""
    return b"".join(encode_bytes(number, b"".join(_encoded(v % _LIMIT) for v in values)))


def total(parts: Iterable[Chunk]) -> int:
    """Return the number of bytes of all parts."""
    return sum(len(part) for part in parts)


def damaged(what: str) -> BundleError:
    """Return the error for bytes that are no ONNX model."""
    return BundleError(
        f"the file is no ONNX model: {what}", remedy="export or fetch the bundle again"
    )


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:  # noqa: PLR2004 - ten groups of seven bits hold 64
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            return value % _LIMIT, at
        shift += 7
    raise damaged(f"an unfinished number at byte {at}")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= _MORE:
        out.append(value & 0x7F | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)
