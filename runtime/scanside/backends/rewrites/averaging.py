"""The average of squares of the uint8 image, in integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.backends.rewrites.columns import averaged_squares, image_columns, regrouped
from scanside.backends.rewrites.image import exchange, find_scaling, pools_exactly
from scanside.backends.rewrites.topology import (
    Topology,
    add_constant,
    fresh_name,
    remove_unread,
)
from scanside.onnxgraph import attribute, make_node
from scanside.preprocess import CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.backends.rewrites.image import Scaling
    from scanside.onnxgraph import Graph, Node

__all__ = ["average_in_integers"]

_PIXELS: Final = 16
"""Columns that are read as one, see `packing`: the fast kernel computes 16 filters at a time, and
16 columns averaged by twos are 24 (67 microseconds; 124 with 8 columns, 216 with 4)."""

_MIDDLE: Final = 128


def average_in_integers(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Average the uint8 image by a convolution of ones; scaling and quantising fall away.

    Only where the scaled and quantised average is the average itself, rounded to even.
    """
    topology = Topology(graph)
    for node in graph.nodes:
        scaling = find_scaling(node, topology, pooled=True)
        quantize = None if scaling is None else topology.sole_reader(scaling.add, "QuantizeLinear")
        if scaling is None or scaling.pool is None or quantize is None:
            continue
        side = averaged_squares(scaling.pool)
        columns = image_columns(scaling.cast.inputs[0], topology)
        if side is None or columns is None or columns % _PIXELS or _PIXELS % side:
            continue
        if pools_exactly(scaling.pool, scaling) and _is_average(scaling, quantize, topology):
            gone = (scaling.cast, scaling.pool, scaling.multiply, scaling.add)
            made = _average(graph, scaling.cast.inputs[0], quantize, side)
            exchange(graph, {id(quantize): made, **{id(each): () for each in gone}})
            remove_unread(graph, {*scaling.multiply.inputs, *scaling.add.inputs})
            return 1
    return 0


def _average(graph: Graph, image: str, quantize: Node, side: int) -> tuple[Node, ...]:
    """Return the nodes that average the image's squares and give what `quantize` gives."""
    scale, zero_point = quantize.inputs[1:]
    made, ones = quantize.outputs[0], _ones(side)
    packed, read, kernel, averaged, rounded = (
        fresh_name(graph, f"{made}/{part}")
        for part in ("packed", "read", "kernel", "averaged", "rounded")
    )
    weights = (("ones", ones), ("share", np.float32(1 / side**2)), ("zero", np.int8(0)))
    held = [add_constant(graph, f"{made}/{part}", np.asarray(value)) for part, value in weights]
    return (
        *regrouped(graph, image, packed, ones.shape[1]),
        make_node("DequantizeLinear", (packed, scale, zero_point), (read,), f"{made}/Read"),
        make_node("DequantizeLinear", held, (kernel,), f"{made}/Ones"),
        make_node(
            "Conv", (read, kernel), (averaged,), f"{made}/Average",
            attribute("kernel_shape", ones.shape[2:]), attribute("strides", (side, 1)),
        ),
        make_node("QuantizeLinear", (averaged, scale, zero_point), (rounded,), f"{made}/Round"),
        *regrouped(graph, rounded, made, len(CHANNELS)),
    )  # fmt: skip


def _ones(side: int) -> NDArray[np.int8]:
    """Return the weights that add squares of pixels up: int8 ``[O, 48, side, 1]``."""
    channels = len(CHANNELS)
    made = np.zeros((_PIXELS // side, channels, _PIXELS, channels, side, 1), np.int8)
    for pixel in range(_PIXELS):
        for channel in range(channels):
            made[pixel // side, channel, pixel, channel] = 1
    return made.reshape(-1, _PIXELS * channels, side, 1)


def _is_average(scaling: Scaling, quantize: Node, topology: Topology) -> bool:
    """Return whether the scaled and quantised average is the average, rounded to even."""
    scale, zero_point = (topology.scalar(name) for name in quantize.inputs[1:])
    if not isinstance(zero_point, np.uint8) or zero_point != _MIDDLE:
        return False
    # The factor is a power of two: what it multiplies and the scale divides is not rounded.
    return bool(scale == scaling.factor and scaling.offset == -_MIDDLE * scaling.factor)
