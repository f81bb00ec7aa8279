"""Pixels side by side as the channels of one: the image's way into integer convolutions.

ONNX Runtime's fast integer convolution takes channels by fours. An image has three, and what
reads it is computed on a slow path, at a tenth to a third of the rate. In memory the pixels of a
row lie one behind the other, so four of them are one pixel of twelve channels without a byte being
moved; the same convolution reads it with its weights laid out anew, and zeros beside them.

References
----------
``MlasConvSymPackWSize`` in ``onnxruntime/core/mlas/lib/convsym.cpp`` (ONNX Runtime 1.32).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.backends.rewrites.columns import image_columns, regrouped
from scanside.backends.rewrites.image import exchange
from scanside.backends.rewrites.topology import (
    Topology,
    add_constant,
    fresh_name,
    is_op,
    remove_unread,
)
from scanside.onnxgraph import attribute, make_node
from scanside.preprocess import CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.backends.rewrites.topology import Pair
    from scanside.onnxgraph import Graph, Node

__all__ = ["lay_out", "pack_pixels"]

_PIXELS: Final = 4
"""Pixels that the first convolution reads as one: the fewest with channels by fours."""

_STRIDE: Final = 2
"""Of the convolutions that are packed, as the first ones of both models are. Without a stride
three times as many weights would be zeros."""

_RANK: Final = 4


class _First(NamedTuple):
    """The first convolution, what its two operands are dequantised by, and its quantised output."""

    conv: Node
    image: Node
    weight: Node
    weights: NDArray[np.int8]
    pads: tuple[int, ...]
    output: Pair


def pack_pixels(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Let the convolution that reads the image read four pixels as one.

    Every output sums the same products and zeros. In integers that is the same sum.
    """
    topology = Topology(graph)
    for node in graph.nodes:
        if (first := _first(node, topology)) is not None:
            return _pack(graph, topology, first)
    return 0


def lay_out(weights: NDArray[np.int8], left: int) -> tuple[NDArray[np.int8], tuple[int, int]]:
    """Lay weights out for packed pixels.

    Parameters
    ----------
    weights
        int8 ``[O, C, H, W]`` of a convolution with a horizontal stride of 2.
    left
        Its padding on the left, less than W.

    Returns
    -------
    laid_out
        int8 ``[2 O, 4 C, H, G]``: the filters of two neighbouring outputs over G groups of four
        pixels.
    pads
        Groups of padding on the left and on the right.
    """
    filters, channels, height, width = weights.shape
    outputs = _PIXELS // _STRIDE
    first = -left // _PIXELS
    last = ((outputs - 1) * _STRIDE - left + width - 1) // _PIXELS
    made = np.zeros((outputs, filters, _PIXELS, channels, height, last - first + 1), np.int8)
    for output in range(outputs):
        for x in range(width):
            group, within = divmod(output * _STRIDE - left + x, _PIXELS)
            made[output, :, within, :, :, group - first] = weights[..., x]
    return made.reshape(outputs * filters, _PIXELS * channels, height, -1), (-first, last)


def _first(conv: Node, topology: Topology) -> _First | None:
    """Return the convolution with what belongs to it, if it can be packed."""
    if not _is_strided(conv):
        return None
    image, weight = (_own_operand(conv, name, topology) for name in conv.inputs[:2])
    relu = topology.sole_reader(conv, "Relu")
    quantize = topology.sole_reader(conv if relu is None else relu, "QuantizeLinear")
    output = None if quantize is None else topology.pair(quantize)
    if image is None or weight is None or output is None:
        return None
    weights, pads = topology.constant(weight.inputs[0]), conv.get("pads", (0, 0, 0, 0))
    if weights is None or weights.dtype != np.int8 or weights.ndim != _RANK:
        return None
    if weights.shape[1] != len(CHANNELS) or not isinstance(pads, tuple) or len(pads) != _RANK:
        return None
    columns = image_columns(image.inputs[0], topology)
    if columns is None or columns % _PIXELS:
        return None
    made = (columns + pads[1] + pads[3] - weights.shape[3]) // _STRIDE + 1
    halved = made == columns // _STRIDE
    return _First(conv, image, weight, weights, pads, output) if halved else None


def _is_strided(node: Node) -> bool:
    """Return whether a node is a plain convolution with a stride of 2."""
    return (
        is_op(node, "Conv")
        and node.get("strides") == (_STRIDE, _STRIDE)
        and node.get("group", 1) == 1
        and node.get("dilations", (1, 1)) == (1, 1)
        and node.get("auto_pad", b"NOTSET") == b"NOTSET"
    )


def _own_operand(conv: Node, name: str, topology: Topology) -> Node | None:
    """Return the DequantizeLinear that makes an operand for this convolution alone."""
    made = topology.producer(name, "DequantizeLinear")
    return made if made is not None and topology.sole_reader(made, "Conv") is conv else None


def _pack(graph: Graph, topology: Topology, first: _First) -> int:
    conv, image, weight, weights, (top, left, bottom, _), output = first
    laid_out, (before, after) = lay_out(weights, left)
    times = _PIXELS // _STRIDE

    def repeated(name: str) -> str:
        """Give a constant of one value a filter to each of the neighbouring outputs."""
        values = topology.constant(name)
        if values is None or not values.shape:
            return name
        return add_constant(graph, f"{name}/packed", np.tile(values, times))

    held = (add_constant(graph, f"{weight.inputs[0]}/packed", laid_out),)
    packed_weight = replace(weight, inputs=(*held, *map(repeated, weight.inputs[1:])))
    packed_conv = make_node(
        "Conv",
        (*conv.inputs[:2], *map(repeated, conv.inputs[2:])),
        conv.outputs,
        conv.name,
        attribute("kernel_shape", laid_out.shape[2:]),
        attribute("strides", (_STRIDE, 1)),
        attribute("pads", (top, before, bottom, after)),
    )
    grouped = fresh_name(graph, f"{image.inputs[0]}/packed")
    apart = fresh_name(graph, f"{output.quantize.outputs[0]}/apart")
    channels, filters = weights.shape[1], weights.shape[0]
    exchange(
        graph,
        {
            id(image): (
                *regrouped(graph, image.inputs[0], grouped, _PIXELS * channels),
                replace(image, inputs=(grouped, *image.inputs[1:])),
            ),
            id(weight): (packed_weight,),
            id(conv): (packed_conv,),
            id(output.quantize): (
                output.quantize,
                *regrouped(graph, output.quantize.outputs[0], apart, filters),
            ),
            **{
                id(node): (replace(node, inputs=(apart, *node.inputs[1:])),)
                for node in output.dequantize
            },
        },
    )
    remove_unread(graph, {*weight.inputs, *conv.inputs[2:]})
    return 1
