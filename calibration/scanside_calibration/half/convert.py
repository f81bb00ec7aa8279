"""Rewrite an FP32 graph so that each node has the type that was planned for it.

Own code, since the two public converters (onnxconverter-common's and ONNX Runtime's
``transformers.float16``, which come from one source) clamp weights beyond FP16 and lift those
below it without a word, put a pair of opposite Casts between neighbouring float32 nodes, cast
the float32 output through FP16, and leave the nodes unsorted, which `onnx.checker` refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper, numpy_helper

from scanside_calibration.half.graphs import FIXED_INPUTS, key

if TYPE_CHECKING:
    from collections.abc import Collection

    from onnx import GraphProto, ModelProto, NodeProto

    from scanside_calibration.half.graphs import FloatGraph

__all__ = ["convert"]

_SUFFIX = {TensorProto.FLOAT16: "half", TensorProto.FLOAT: "float"}


def convert(model: ModelProto, floats: FloatGraph, float32: Collection[str]) -> ModelProto:
    """Return the typed model.

    Parameters
    ----------
    model
        The FP32 model; it is not changed.
    floats
        What `read_float_graph` found in it.
    float32
        The keys of the nodes that stay in float32.

    Returns
    -------
    ModelProto
        The same graph with FP16 weights and activations but for those nodes, float32 inputs and
        outputs as they were, and one Cast wherever a tensor changes its type.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Converter(copy.graph, floats, frozenset(float32)).run()
    return copy


class _Converter:
    """Goes through the nodes once, in order."""

    def __init__(self, graph: GraphProto, floats: FloatGraph, float32: frozenset[str]) -> None:
        self.graph = graph
        self.floats = floats
        self.half_nodes = {key(node) for node in floats.nodes} - float32
        self.types = dict.fromkeys(floats.activations, TensorProto.FLOAT)
        self.names: dict[str, str] = {}
        self.casts: dict[tuple[str, int], str] = {}
        self.nodes: list[NodeProto] = []
        self.taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self.taken |= {value.name for value in (*graph.input, *graph.output)}

    def run(self) -> None:
        outputs = {value.name for value in self.graph.output}
        for node in list(self.graph.node):
            half = key(node) in self.half_nodes
            made = self.floats.float_outputs(node)
            typed = onnx.NodeProto()
            typed.CopyFrom(node)
            self._read(typed, half=half)
            if half:
                _retarget(typed)
            for at, name in enumerate(node.output):
                if half and name in made:
                    self.types[name] = TensorProto.FLOAT16
                    if name in outputs:
                        self.names[name] = typed.output[at] = self._free(name, "half")
            self.nodes.append(typed)
        for name in outputs:
            if name in self.names:
                self._cast(self.names[name], name, TensorProto.FLOAT)
        self.graph.ClearField("node")
        self.graph.node.extend(self.nodes)
        self.graph.ClearField("value_info")
        self._drop_unread()

    def _read(self, node: NodeProto, *, half: bool) -> None:
        """Let a node read each float input in its own type."""
        wanted = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        fixed = FIXED_INPUTS.get(node.op_type, frozenset())
        for at, name in enumerate(list(node.input)):
            if name in self.floats.constants:
                if half and at not in fixed:
                    node.input[at] = self._half_constant(name)
            elif name in self.types:
                target = TensorProto.FLOAT if at in fixed else wanted
                node.input[at] = self._as(name, target)

    def _as(self, name: str, wanted: int) -> str:
        """Return the tensor of that name in that type, cast once for all its readers."""
        source = self.names.get(name, name)
        if self.types[name] == wanted:
            return source
        if (name, wanted) not in self.casts:
            target = self._free(name, _SUFFIX[wanted])
            self._cast(source, target, wanted)
            self.casts[name, wanted] = target
        return self.casts[name, wanted]

    def _cast(self, source: str, target: str, wanted: int) -> None:
        name = f"{target}/Cast"
        self.nodes.append(helper.make_node("Cast", [source], [target], name=name, to=wanted))

    def _half_constant(self, name: str) -> str:
        if (name, TensorProto.FLOAT16) not in self.casts:
            made = self._free(name, "half")
            value = self.floats.constants[name].astype("float16")
            self.graph.initializer.append(numpy_helper.from_array(value, made))
            self.casts[name, TensorProto.FLOAT16] = made
        return self.casts[name, TensorProto.FLOAT16]

    def _free(self, name: str, suffix: str) -> str:
        made, count = f"{name}/{suffix}", 1
        while made in self.taken:
            count += 1
            made = f"{name}/{suffix}_{count}"
        self.taken.add(made)
        return made

    def _drop_unread(self) -> None:
        """Remove the FP32 weights that nobody reads any more."""
        read = {name for node in self.graph.node for name in node.input}
        kept = []
        for tensor in self.graph.initializer:
            if tensor.name in read:
                copy = onnx.TensorProto()
                copy.CopyFrom(tensor)
                kept.append(copy)
        self.graph.ClearField("initializer")
        self.graph.initializer.extend(kept)


def _retarget(node: NodeProto) -> None:
    """Let a Cast to float32 cast to FP16 instead."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
