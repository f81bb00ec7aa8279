"""Trying ONNX Runtime's providers on a GPU with a model of one node.

A backend would build engines of the whole bundle, which takes minutes; whether its libraries load
and its provider computes is known from one addition of numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.protowire import encode_bytes, encode_varint

if TYPE_CHECKING:
    from scanside.protowire import Chunk

__all__ = ["PROVIDERS", "one_node", "try_provider"]

PROVIDERS: Final = {
    "ort-trt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}
"""The provider that each backend needs."""

_IR_VERSION, _OPSET = 8, 17
_FLOAT: Final = 1
_COUNT: Final = 64


def one_node() -> bytes:
    """Return an ONNX model that adds ``x``, float32 ``[64]``, to itself.

    References
    ----------
    Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
    """
    node = (*_text(1, "x"), *_text(1, "x"), *_text(2, "y"), *_text(3, "add"), *_text(4, "Add"))
    graph = (*encode_bytes(1, *node), *_text(2, "one"), *_value(11, "x"), *_value(12, "y"))
    opset = encode_bytes(8, encode_varint(2, _OPSET))
    return b"".join((encode_varint(1, _IR_VERSION), *opset, *encode_bytes(7, *graph)))


def try_provider(backend: str) -> dict[str, str]:
    """Let a backend's provider compute.

    Parameters
    ----------
    backend
        A name of `PROVIDERS`.

    Raises
    ------
    BackendError
        If it can't, with the reason.
    """
    from scanside.backends.gpusession import CUDA, prepare_libraries, start_session
    from scanside.backends.onnxsession import library_version
    from scanside.errors import BackendError

    prepare_libraries("tensorrt")
    provider = PROVIDERS[backend]
    names = [provider] if provider == CUDA else [provider, CUDA]
    values = np.arange(_COUNT, dtype=np.float32)
    session = start_session(one_node(), [(name, {}) for name in names], {"x": values}).session
    (found,) = session.run(None, {"x": values})
    if not np.array_equal(found, values + values):
        raise BackendError(f"{provider} adds numbers wrongly")
    return {"onnxruntime": library_version(), "provider": provider}


def _value(field: int, name: str) -> tuple[Chunk, ...]:
    dimension = encode_bytes(1, encode_varint(1, _COUNT))
    tensor = (encode_varint(1, _FLOAT), *encode_bytes(2, *dimension))
    return encode_bytes(field, *_text(1, name), *encode_bytes(2, *encode_bytes(1, *tensor)))


def _text(field: int, content: str) -> tuple[Chunk, ...]:
    return encode_bytes(field, content.encode())
