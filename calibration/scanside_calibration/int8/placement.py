"""Where a float graph is quantised: one placement that TensorRT and ONNX Runtime both run fast.

Every activation that a quantised node reads has one pair of QuantizeLinear and
DequantizeLinear behind its producer: symmetric int8, one scale, zero point 0. Every weight is
stored as int8, one scale an output channel, behind a DequantizeLinear. Biases stay float.
A record in ``docs/adr`` says why, with what was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from scanside.errors import BundleError, UsageError
from scanside_calibration.int8.topology import (
    WEIGHT_AXIS,
    Topology,
    quantised_slots,
)
from scanside_calibration.int8.weights import quantise_weight, smallest_scales

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["LEVELS", "activations", "quantisable", "quantise"]

LEVELS: Final = 127
"""The largest quantised magnitude: the range is symmetric, ``scale = amax / 127``."""


def activations(model: ModelProto) -> tuple[str, ...]:
    """Return the tensors that get a pair, in the order in which the graph computes them.

    Parameters
    ----------
    model
        A float ONNX model.

    Returns
    -------
    tuple of str
        What a calibration has to observe.
    """
    return _read_quantised(model, Topology(model), frozenset())


def quantisable(model: ModelProto) -> tuple[str, ...]:
    """Return the names of the nodes that are quantised and may be kept float instead.

    Parameters
    ----------
    model
        A float ONNX model.

    Returns
    -------
    tuple of str
        Node names in the order of the graph.
    """
    topology = Topology(model)
    return tuple(node.name for node in model.graph.node if quantised_slots(node, topology))


def quantise(
    model: ModelProto, amax: Mapping[str, float], *, float_nodes: Collection[str] = ()
) -> ModelProto:
    """Return a quantised copy of a float model.

    Parameters
    ----------
    model
        A float ONNX model; it is not changed.
    amax
        The magnitude at which each of `activations` saturates, by tensor; others are ignored.
    float_nodes
        Nodes of `quantisable` that stay float: they read the float tensors, and their weights
        stay float32. A tensor that no other node reads quantised gets no pair.

    Returns
    -------
    ModelProto
        The names of nodes and tensors are kept; new names begin with the tensor's name.

    Raises
    ------
    UsageError
        If `float_nodes` names a node that is not quantisable, or `amax` lacks a tensor or has
        a value that is not finite and positive.
    BundleError
        If the model is quantised already, or ONNX refuses the result.
    """
    topology = Topology(model)
    kept_float = _known_nodes(model, float_nodes)
    _refuse_quantised(model)
    tensors = _read_quantised(model, topology, kept_float)
    scales = {name: _scale(name, amax) for name in tensors}
    writer = _Writer(topology, scales, kept_float)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    nodes = [made for node in model.graph.node for made in writer.nodes(node)]
    used = {name for node in nodes for name in node.input}
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph.ClearField("node")
    graph.ClearField("initializer")
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *writer.constants.values()])
    try:
        onnx.checker.check_model(result, full_check=True)
        onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(
            f"ONNX refuses the quantised model: {error}", remedy="export the bundle again"
        ) from error
    return result


def _known_nodes(model: ModelProto, float_nodes: Collection[str]) -> frozenset[str]:
    allowed = quantisable(model)
    if unknown := sorted(set(float_nodes) - set(allowed)):
        raise UsageError(
            f"no quantisable node is named {', '.join(unknown)}",
            accepted=f"names among {', '.join(allowed[:5])}, ... ({len(allowed)} in all)",
        )
    return frozenset(float_nodes)


def _refuse_quantised(model: ModelProto) -> None:
    for node in model.graph.node:
        if "QuantizeLinear" in node.op_type or "Dequantize" in node.op_type:
            raise BundleError(
                f"the model is quantised already: {node.name} ({node.op_type})",
                accepted="the FP32 model",
            )


def _read_quantised(
    model: ModelProto, topology: Topology, float_nodes: frozenset[str]
) -> tuple[str, ...]:
    wanted = {
        node.input[slot]
        for node in model.graph.node
        if node.name not in float_nodes
        for slot in quantised_slots(node, topology)
    }
    return tuple(name for node in model.graph.node for name in node.output if name in wanted)


def _scale(name: str, amax: Mapping[str, float]) -> np.float32:
    if name not in amax:
        raise UsageError(
            f"the calibration has no range for {name}",
            remedy="calibrate this very model: ranges of another one don't fit",
        )
    value: np.float32 = np.float32(float(amax[name]) / LEVELS)
    if not (np.isfinite(value) and value > 0):
        raise UsageError(
            f"the range of {name} is {amax[name]}", accepted="a finite magnitude above 0"
        )
    return value


class _Writer:
    """Writes the nodes of the quantised graph, each constant once.

    Parameters
    ----------
    topology
        The float graph.
    scales
        The scale of every tensor that gets a pair.
    float_nodes
        Nodes that stay as they are.
    """

    def __init__(
        self, topology: Topology, scales: Mapping[str, np.float32], float_nodes: frozenset[str]
    ) -> None:
        self._topology = topology
        self._scales = scales
        self._float_nodes = float_nodes
        self.constants: dict[str, TensorProto] = {}

    def nodes(self, node: NodeProto) -> Iterator[NodeProto]:
        """Yield the weight's DequantizeLinear, the node itself, and its outputs' pairs."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.name not in self._float_nodes:
            slots = quantised_slots(node, self._topology)
            for slot in slots:
                copy.input[slot] = _named(node.input[slot], "dequantized")
            if slots and node.op_type in WEIGHT_AXIS:
                yield from self._weight(copy)
        yield copy
        for name in node.output:
            if name in self._scales:
                yield from self._pair(name)

    def _pair(self, name: str) -> Iterator[NodeProto]:
        held = [
            self._constant(_named(name, "scale"), self._scales[name]),
            self._constant(_named(name, "zero_point"), np.int8(0)),
        ]
        inner, outer = _named(name, "quantized"), _named(name, "dequantized")
        yield _linear("QuantizeLinear", name, [name, *held], inner)
        yield _linear("DequantizeLinear", name, [inner, *held], outer)

    def _weight(self, node: NodeProto) -> Iterator[NodeProto]:
        """Point a node at its dequantised weight; yield the DequantizeLinear if it is new."""
        name, axis = node.input[1], WEIGHT_AXIS[node.op_type]
        outer = _named(name, "dequantized")
        node.input[1] = outer
        if _named(name, "quantized") in self.constants:
            return
        weight = quantise_weight(
            self._topology.constants[name], axis, smallest=self._smallest(name)
        )
        held = [
            self._constant(_named(name, "quantized"), weight.values),
            self._constant(_named(name, "scale"), weight.scales),
            self._constant(_named(name, "zero_point"), np.zeros(weight.scales.shape, np.int8)),
        ]
        yield _linear("DequantizeLinear", name, held, outer, axis=axis)

    def _smallest(self, weight: str) -> NDArray[np.float64]:
        """Return the smallest scales for which every reader's bias fits 32-bit integers."""
        floors = [np.zeros(())]
        for node in self._topology.readers[weight]:
            bias = self._topology.constants.get(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004
            scale = self._scales.get(node.input[0])
            if bias is not None and scale is not None:
                floors.append(smallest_scales(bias, scale))
        return np.asarray(np.maximum.reduce(np.broadcast_arrays(*floors)), np.float64)

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


def _linear(
    op_type: str, tensor: str, inputs: list[str], output: str, **attributes: int
) -> NodeProto:
    return helper.make_node(op_type, inputs, [output], name=f"{tensor}/{op_type}", **attributes)


def _named(tensor: str, what: str) -> str:
    return f"{tensor}/{what}"
