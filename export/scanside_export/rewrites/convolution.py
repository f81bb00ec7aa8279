"""BatchNormalization, and any other affine step per channel, folded into its convolution.

TensorFlow exports an inference-time BatchNormalization as Mul and Add. The converter folds
them only where the convolution has no bias; ``keras.applications`` gives every convolution one.

References
----------
Jacob et al. 2018, "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", CVPR, section 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from onnx import numpy_helper

from scanside_export.rewrites.editing import (
    attribute,
    constants,
    consumers,
    copied,
    free_name,
    key,
    output_names,
    set_nodes,
    tensor_names,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["Foldable", "fold_affine", "foldable"]

_RANK: Final = 4


class _Affine(NamedTuple):
    """``y = scale * x + shift`` by channel, float64, each ``[C]`` or ``[1]``."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


class Foldable(NamedTuple):
    """A convolution and the affine nodes behind it that can become part of it.

    Attributes
    ----------
    conv
        The convolution.
    chain
        The nodes, in order; each is the only reader of the one before.
    scale, shift
        What they do together: ``scale * x + shift``, float64 ``[C]``.
    """

    conv: NodeProto
    chain: tuple[NodeProto, ...]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def fold_affine(model: ModelProto) -> ModelProto:
    """Fold every affine step per channel behind a convolution into its weights and bias.

    A whole chain is composed in float64 and rounded to float32 once.
    """
    model = copied(model)
    graph = model.graph
    known, taken = constants(graph), tensor_names(graph)
    every = list(foldable(graph))
    gone = {key(node) for found in every for node in found.chain}
    kept = [node for node in graph.node if key(node) not in gone]
    for found in every:
        conv, last = found.conv, found.chain[-1]
        weight = known[conv.input[1]].astype(np.float64)
        bias = known[conv.input[2]].astype(np.float64) if len(conv.input) > 2 else 0.0  # noqa: PLR2004
        new = (
            (f"{conv.input[1]}/folded", weight * found.scale.reshape(-1, 1, 1, 1)),
            (f"{conv.input[1]}/folded_bias", bias * found.scale + found.shift),
        )
        del conv.input[1:]
        for name, value in new:
            tensor = numpy_helper.from_array(value.astype(np.float32), free_name(name, taken))
            graph.initializer.append(tensor)
            conv.input.append(tensor.name)
        conv.output[0] = last.output[0]
    set_nodes(graph, kept)
    return model


def foldable(graph: GraphProto) -> Iterator[Foldable]:
    """Find the convolutions that have an affine step behind them which could be part of them."""
    known, readers, outputs = constants(graph), consumers(graph), output_names(graph)
    for conv in graph.node:
        if conv.op_type != "Conv" or not all(name in known for name in conv.input[1:] if name):
            continue
        weight = known[conv.input[1]]
        if weight.ndim != _RANK or weight.dtype != np.float32:
            continue
        channels = weight.shape[0]
        chain: list[NodeProto] = []
        scale, shift = np.ones(channels), np.zeros(channels)
        tensor = conv.output[0]
        while tensor not in outputs and len(readers[tensor]) == 1:
            node = readers[tensor][0]
            step = _affine(node, tensor, known, channels)
            if step is None:
                break
            scale, shift = scale * step.scale, shift * step.scale + step.shift
            chain.append(node)
            tensor = node.output[0]
        if chain:
            yield Foldable(conv, tuple(chain), scale, shift)


def _affine(
    node: NodeProto, tensor: str, known: dict[str, NDArray[Any]], channels: int
) -> _Affine | None:
    """Return what a node does to each channel of `tensor`, if that is all it does."""
    if node.op_type == "BatchNormalization":
        return _batch_normalization(node, known)
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    first, second = node.input
    commutes = node.op_type in ("Add", "Mul")
    other = second if first == tensor else first
    if other not in known or not (commutes or first == tensor):
        return None
    value = _per_channel(known[other], channels)
    if value is None:
        return None
    one, zero = np.ones(1), np.zeros(1)
    steps = {
        "Add": lambda: _Affine(one, value),
        "Sub": lambda: _Affine(one, -value),
        "Mul": lambda: _Affine(value, zero),
        "Div": lambda: _Affine(1.0 / value, zero),
    }
    return steps[node.op_type]()


def _batch_normalization(node: NodeProto, known: dict[str, NDArray[Any]]) -> _Affine | None:
    if attribute(node, "training_mode", 0) or not all(name in known for name in node.input[1:]):
        return None
    gamma, beta, mean, variance = (known[name].astype(np.float64) for name in node.input[1:])
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return _Affine(scale, beta - mean * scale)


def _per_channel(value: NDArray[Any], channels: int) -> NDArray[np.float64] | None:
    """Return a constant as one value a channel of ``[N, C, H, W]``, if it broadcasts so."""
    if value.ndim > _RANK or value.dtype != np.float32:
        return None
    shape = (1,) * (_RANK - value.ndim) + value.shape
    if shape not in ((1, channels, 1, 1), (1, 1, 1, 1)):
        return None
    return value.astype(np.float64).reshape(-1)
