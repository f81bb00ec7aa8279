"""What the placement needs to know of a float graph, and which inputs of a node it quantises."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

__all__ = ["PASSING", "QUANTISED_INPUTS", "WEIGHT_AXIS", "Topology", "passes", "quantised_slots"]

WEIGHT_AXIS: Final = {"Conv": 0, "MatMul": 1}
"""The axis of the output channels in the second input: ``[M, C, kH, kW]`` and ``[K, N]``."""

PASSING: Final = frozenset({"Concat", "MaxPool", "Pad", "Resize"})
"""Nodes whose output values are, or lie between, values of their inputs."""

QUANTISED_INPUTS: Final = WEIGHT_AXIS.keys() | PASSING | {"Add", "GlobalAveragePool"}
"""Node types that read int8. ONNX Runtime runs a convolution or an addition in integers only
where all of its inputs and its output are quantised."""

_MATRIX: Final = 2
_PAD_VALUE = 2


class Topology:
    """Producers, readers and constants of a graph, by tensor.

    Parameters
    ----------
    model
        An ONNX model; it is not changed.

    Attributes
    ----------
    producers
        The node that makes each tensor.
    readers
        The nodes that read each tensor.
    constants
        The initializers as arrays.
    """

    def __init__(self, model: ModelProto) -> None:
        self.producers: dict[str, NodeProto] = {}
        self.readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
        self.constants: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        for node in model.graph.node:
            for name in node.output:
                self.producers[name] = node
            for name in node.input:
                self.readers[name].append(node)


def quantised_slots(node: NodeProto, topology: Topology) -> tuple[int, ...]:
    """Return which inputs of a node are activations that it reads quantised.

    Parameters
    ----------
    node
        A node of the graph.
    topology
        The graph.

    Returns
    -------
    tuple of int
        Positions among the node's inputs; none for a node that stays float by itself: a
        weight that is computed, an addition of a constant (the scaling of the input and the
        bias of the logit), and a node that only passes values on to nodes that read float
        (the resizing of the mask's logits): eight bits would be lost there for nothing.
    """
    if node.op_type not in QUANTISED_INPUTS:
        return ()
    slots = tuple(range(len(node.input))) if node.op_type in ("Add", "Concat") else (0,)
    computed = all(node.input[slot] in topology.producers for slot in slots)
    return slots if computed and _reads_int8(node, topology) else ()


def passes(node: NodeProto, topology: Topology) -> bool:
    """Return whether a node's output has no larger magnitude than its inputs.

    Parameters
    ----------
    node
        A node of the graph.
    topology
        The graph.

    Returns
    -------
    bool
        False as well for a Pad with another value than 0 and a Resize that overshoots.
    """
    if node.op_type == "Pad":
        value = node.input[_PAD_VALUE] if len(node.input) > _PAD_VALUE else ""
        return not value or (value in topology.constants and not topology.constants[value].any())
    if node.op_type == "Resize":
        return _attribute(node, "mode", b"nearest") != b"cubic"
    return node.op_type in PASSING


def _reads_int8(node: NodeProto, topology: Topology) -> bool:
    if node.op_type in WEIGHT_AXIS:
        weight = topology.constants.get(node.input[1])
        return weight is not None and (node.op_type == "Conv" or weight.ndim == _MATRIX)
    if node.op_type in PASSING:
        return passes(node, topology) and any(
            quantised_slots(reader, topology)
            for name in node.output
            for reader in topology.readers[name]
        )
    return True


def _attribute(node: NodeProto, name: str, default: object) -> object:
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default
