"""What an ONNX file declares: its opset, raised; and which of its nodes are meant to be INT8."""

from __future__ import annotations

from typing import Final

from scanside.onnxfile import opset
from scanside.onnxgraph import read_graph
from scanside.protowire import encode_bytes, encode_varint, message, read_fields, text

__all__ = ["meant_int8", "raise_opset"]

_WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

_IR_VERSION: Final = 9
"""The version of the file format that came with opset 19."""

_MODEL_IR, _MODEL_OPSET = 1, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2


def meant_int8(content: bytes, *, implicit: bool = False) -> tuple[str, ...]:
    """Return the names of the nodes that are meant to compute in INT8.

    Parameters
    ----------
    content
        An ONNX file.
    implicit
        Whether the library chooses what it quantises, as far as it can all.

    Returns
    -------
    tuple of str
        Convolutions and matrix products whose two first inputs are dequantised; every
        convolution where the library chooses.

    Raises
    ------
    BundleError
        If the bytes are no ONNX model.
    """
    graph = read_graph(content)
    if implicit:
        return tuple(node.name for node in graph.nodes if node.op_type == "Conv")
    dequantised = {
        name for node in graph.nodes if node.op_type == "DequantizeLinear" for name in node.outputs
    }
    return tuple(
        node.name
        for node in graph.nodes
        if node.op_type in _WEIGHTED and set(node.inputs[:2]) <= dequantised
    )


def raise_opset(content: bytes, least: int) -> bytes:
    """Return a model whose opset is at least the given one; nothing else is changed.

    Parameters
    ----------
    content
        An ONNX file whose operators mean the same in both opsets.
    least
        The operator set, 19 or later.

    Raises
    ------
    BundleError
        If the bytes are no ONNX model.
    """
    version = max(opset(content), least)
    parts: list[bytes | memoryview] = []
    for number, value, whole in read_fields(memoryview(content)):
        if number == _MODEL_IR and isinstance(value, int):
            parts.append(encode_varint(_MODEL_IR, max(value, _IR_VERSION)))
        elif number == _MODEL_OPSET and _domain(message(value)) in {"", "ai.onnx"}:
            parts += encode_bytes(_MODEL_OPSET, encode_varint(_OPSET_VERSION, version))
        else:
            parts.append(whole)
    return b"".join(parts)


def _domain(entry: memoryview) -> str:
    names = [text(field.value) for field in read_fields(entry) if field.number == _OPSET_DOMAIN]
    return names[-1] if names else ""
