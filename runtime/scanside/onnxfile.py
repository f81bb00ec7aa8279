"""What an ONNX file declares of itself, read without the onnx package.

The runtime needs two facts before it hands a file to a backend: its opset, and that no tensor
lies outside the file. Both come from a walk of the protobuf wire format that looks at the few
fields below and skips the rest, weights included.

References
----------
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.errors import BundleError
from scanside.protowire import damaged, read_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["external_tensors", "opset"]

_MODEL_GRAPH: Final = 7
_MODEL_OPSET_IMPORT: Final = 8
_MODEL_FUNCTIONS: Final = 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_TENSOR_NAME, _TENSOR_DATA_LOCATION = 8, 14
_EXTERNAL: Final = 1

# Message kind -> {field: kind of the message in it}: every way from a model to a tensor.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "model": {_MODEL_GRAPH: "graph", _MODEL_FUNCTIONS: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def opset(model: bytes) -> int:
    """Return the version of the default operator set that a model asks for.

    Parameters
    ----------
    model
        The ONNX file's content.

    Raises
    ------
    BundleError
        If the bytes are no ONNX model.
    """
    for number, value, _ in read_fields(memoryview(model)):
        if number == _MODEL_OPSET_IMPORT and isinstance(value, memoryview):
            entry = {field.number: field.value for field in read_fields(value)}
            domain, version = entry.get(_OPSET_DOMAIN, b""), entry.get(_OPSET_VERSION, 0)
            if isinstance(domain, int) or not isinstance(version, int):
                raise damaged("an operator set without a name or a number")
            if bytes(domain) in {b"", b"ai.onnx"}:
                return version
    raise BundleError(
        "the file declares no default operator set", accepted="an ONNX model with its weights"
    )


def external_tensors(model: bytes) -> tuple[str, ...]:
    """Return the names of the tensors whose data lies outside the file.

    Parameters
    ----------
    model
        The ONNX file's content.

    Raises
    ------
    BundleError
        If the bytes are no ONNX model.
    """
    try:
        return tuple(_external(memoryview(model), "model"))
    except RecursionError:
        raise damaged("graphs are nested without end") from None


def _external(message: memoryview, kind: str) -> Iterator[str]:
    children = _CHILDREN[kind]
    name, external = b"", False
    for number, value, _ in read_fields(message):
        if isinstance(value, memoryview):
            if number in children:
                yield from _external(value, children[number])
            elif kind == "tensor" and number == _TENSOR_NAME:
                name = bytes(value)
        elif kind == "tensor" and number == _TENSOR_DATA_LOCATION:
            external = value == _EXTERNAL
    if external:
        yield name.decode("utf-8", "replace")
