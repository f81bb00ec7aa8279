"""Tensors whose scale is not free: the scaled image, and what only passes values on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside_calibration.int8.placement import LEVELS, activations
from scanside_calibration.int8.topology import Topology, passes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto, NodeProto

__all__ = ["IMAGE_AMAX", "image_tensors", "tie"]

IMAGE_AMAX: Final = LEVELS / 128
"""Its scale is 1/128 exactly: the uint8 slice less 128 is the quantised image."""

_IMAGE_NODES: Final = frozenset({"Add", "AveragePool", "Cast", "Mul", "Transpose"})
"""Nodes that leave the scaled image one where their other operand is a constant, beside those
that only pass values on."""


def image_tensors(model: ModelProto) -> frozenset[str]:
    """Return the float tensors that are the scaled image, whole or pooled.

    Parameters
    ----------
    model
        A float ONNX model.
    """
    topology = Topology(model)
    inputs = {value.name for value in model.graph.input}
    found = set(inputs)
    for node in model.graph.node:
        if _keeps_image(node, topology, found):
            found.update(node.output)
    return frozenset(found - inputs)


def tie(model: ModelProto, amax: Mapping[str, float]) -> dict[str, float]:
    """Give tensors that only pass values on the magnitude of what they come from.

    What comes out of a MaxPool, a Pad or a bilinear Resize can't exceed what went in, and that
    has saturated already: with the same scale the second quantisation changes nothing (a
    MaxPool's output is bit for bit what it read). A Concat's inputs and its output share the
    largest magnitude among them, through such nodes too: TensorRT and ONNX Runtime then copy
    bytes, and the masks came out closer to FP32 than with scales of their own (the record in
    ``docs/adr`` has both measured).

    Parameters
    ----------
    model
        The float ONNX model.
    amax
        The magnitude of each of `activations`.

    Returns
    -------
    dict
        The magnitudes, tied.
    """
    topology, image = Topology(model), image_tensors(model)
    group: dict[str, str] = {}
    shared: dict[str, float] = {}
    for name in activations(model):
        node = topology.producers[name]
        sources = [each for each in node.input if each in group] if passes(node, topology) else []
        own = max(amax[each] for each in sources or [name])
        # The image's scale is fixed: nothing else shares it.
        tied = [] if name in image else [each for each in sources if each not in image]
        root, *others = dict.fromkeys(group[each] for each in tied) or [name]
        shared[root] = max(own, shared.get(root, 0.0), *(shared[other] for other in others))
        group |= {member: root for member, old in group.items() if old in others}
        group[name] = root
    return {name: shared[root] for name, root in group.items()}


def _keeps_image(node: NodeProto, topology: Topology, image: set[str]) -> bool:
    if not any(name in image for name in node.input):
        return False
    others = [name for name in node.input if name and name not in image]
    if any(name not in topology.constants for name in others):
        return False
    return node.op_type in _IMAGE_NODES or passes(node, topology)
