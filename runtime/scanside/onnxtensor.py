"""Constants of an ONNX graph as arrays, without the onnx package.

References
----------
Field numbers and types: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.protowire import (
    Chunk,
    damaged,
    encode_bytes,
    encode_packed,
    encode_varint,
    message,
    read_fields,
    read_packed,
    signed,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FLOAT", "TENSOR_NAME", "UINT8", "Tensor", "make_tensor"]

FLOAT, UINT8 = 1, 2
"""Types of elements, as ONNX numbers them."""

_DIMS, _TYPE, TENSOR_NAME, _RAW = 1, 2, 8, 9

_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    FLOAT: np.dtype("<f4"), UINT8: np.dtype("u1"), 3: np.dtype("i1"), 6: np.dtype("<i4"),
    7: np.dtype("<i8"), 10: np.dtype("<f2"),
}  # fmt: skip
"""Numpy's type of a tensor's type: those that a rewrite may have to look at."""

_TYPES: Final = {dtype: number for number, dtype in _DTYPES.items()}
_TYPED_FLOATS, _TYPED_INT32, _TYPED_INT64 = 4, 5, 7
"""Fields that hold a tensor's values where they are not raw."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant of the graph.

    Attributes
    ----------
    name
        What nodes read it by.
    whole
        The tensor, encoded.
    """

    name: str
    whole: tuple[Chunk, ...]

    def array(self) -> NDArray[Any] | None:
        """Return the values, read-only; None for a type or a storage not known here.

        Raises
        ------
        BundleError
            If the bytes are not of the tensor's shape.
        """
        return _array(memoryview(self.whole[0] if len(self.whole) == 1 else b"".join(self.whole)))


def make_tensor(name: str, values: NDArray[Any]) -> Tensor:
    """Return a new constant.

    Parameters
    ----------
    name
        A name that no tensor of the graph has.
    values
        float32, float16, uint8, int8, int32 or int64, of any shape.
    """
    fields = [
        *([encode_packed(_DIMS, values.shape)] if values.shape else []),
        encode_varint(_TYPE, _TYPES[values.dtype.newbyteorder("<")]),
        *encode_bytes(TENSOR_NAME, name.encode()),
        *encode_bytes(_RAW, values.astype(values.dtype.newbyteorder("<")).tobytes()),
    ]
    return Tensor(name, tuple(fields))


def _array(body: memoryview) -> NDArray[Any] | None:
    shape, number = _shape_and_type(body)
    dtype = _DTYPES.get(number)
    if dtype is None:
        return None
    raw: memoryview | None = None
    typed: dict[int, list[memoryview]] = {}
    for field, value, _ in read_fields(body):
        if field == _RAW:
            raw = message(value)
        elif isinstance(value, memoryview):
            typed.setdefault(field, []).append(value)
    values = _typed(dtype, typed) if raw is None else _raw(raw, dtype)
    if values is None:
        return None
    if any(side < 0 for side in shape) or math.prod(shape) != values.size:
        raise damaged(f"a tensor of {values.size} values has the shape {shape}")
    return values.reshape(shape)


def _shape_and_type(body: memoryview) -> tuple[list[int], int]:
    shape, number = [], 0
    for field, value, _ in read_fields(body):
        if field == _DIMS:
            shape += [signed(value)] if isinstance(value, int) else read_packed(value)
        elif field == _TYPE and isinstance(value, int):
            number = value
    return shape, number


def _raw(raw: memoryview, dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(raw) % dtype.itemsize:
        raise damaged(f"a tensor of {dtype} has {len(raw)} bytes")
    return np.frombuffer(raw, dtype)


def _typed(dtype: np.dtype[Any], typed: dict[int, list[memoryview]]) -> NDArray[Any] | None:
    """Return values that are not stored raw; None for half floats, which are bits in integers."""
    if dtype == np.float32:
        return _raw(memoryview(b"".join(typed.get(_TYPED_FLOATS, []))), dtype)
    if dtype == np.float16:
        return None
    field = _TYPED_INT64 if dtype == np.int64 else _TYPED_INT32
    found = [value for part in typed.get(field, []) for value in read_packed(part)]
    limits = np.iinfo(dtype)
    if any(not limits.min <= value <= limits.max for value in found):
        raise damaged(f"a tensor of {dtype} holds other numbers")
    return np.array(found, dtype)
