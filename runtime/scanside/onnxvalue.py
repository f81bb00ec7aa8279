"""What an ONNX file declares of an input or output, without the onnx package.

References
----------
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scanside.protowire import message, read_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Declared", "declared"]

_VALUE_TYPE, _TYPE_TENSOR = 2, 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_SIDE, _SIDE_NUMBER = 1, 1


class Declared(NamedTuple):
    """What is declared of a tensor.

    Attributes
    ----------
    element
        The type of its elements, as ONNX numbers it; 0 where there is none, or no tensor.
    shape
        Its sides; 0 for one that is not fixed. Empty where none is declared.
    """

    element: int = 0
    shape: tuple[int, ...] = ()


def declared(whole: memoryview) -> Declared:
    """Return what the field of an input or output declares."""
    value = next(read_fields(whole)).value
    tensors = [
        tensor
        for kind in _messages(message(value), _VALUE_TYPE)
        for tensor in _messages(kind, _TYPE_TENSOR)
    ]
    if not tensors:
        return Declared()
    element = _number(tensors[-1], _TENSOR_ELEMENT)
    sides = (
        _number(side, _SIDE_NUMBER)
        for shape in _messages(tensors[-1], _TENSOR_SHAPE)
        for side in _messages(shape, _SHAPE_SIDE)
    )
    return Declared(element, tuple(sides))


def _messages(body: memoryview, number: int) -> Iterator[memoryview]:
    return (message(field.value) for field in read_fields(body) if field.number == number)


def _number(body: memoryview, number: int) -> int:
    """Return a field's last number; 0 where it has none."""
    found = [
        field.value
        for field in read_fields(body)
        if field.number == number and isinstance(field.value, int)
    ]
    return found[-1] if found else 0
