"""The largest partial sum that a convolution or a matrix product can meet on the way.

A GPU may add products up in any order, in FP32 or in FP16. Whatever it does, no partial sum is
larger than the sum of the magnitudes of all products and of the bias. That bound is one more
convolution, of magnitudes: it is measured along with the values themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from scanside_calibration.half.graphs import key, label

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

    from scanside_calibration.half.graphs import FloatGraph

__all__ = ["ACCUMULATING", "with_partial_sums"]

ACCUMULATING: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that add products up."""


def with_partial_sums(model: ModelProto, floats: FloatGraph) -> tuple[ModelProto, dict[str, str]]:
    """Add to a model the bound on every partial sum.

    Parameters
    ----------
    model
        An FP32 ONNX model; it is not changed.
    floats
        What `read_float_graph` found in it.

    Returns
    -------
    model : ModelProto
        A copy that computes the bounds too; its outputs are the same.
    bounds : dict
        The tensor that holds the bound, by the key of the accumulating node.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    magnitudes: dict[str, str] = {}
    bounds = {}
    for at, node in enumerate(n for n in floats.nodes if n.op_type in ACCUMULATING):
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name = f"{label(node)}/partial_sums"
        for place, name in enumerate(node.input):
            if name:
                twin.input[place] = _magnitude(copy.graph, floats, name, magnitudes)
        bound = f"scanside.sums/{at}"
        twin.output[:] = [bound]
        for attribute in twin.attribute:
            if node.op_type == "Gemm" and attribute.name in {"alpha", "beta"}:
                attribute.f = abs(attribute.f)
        copy.graph.node.append(twin)
        bounds[key(node)] = bound
    return copy, bounds


def _magnitude(graph: GraphProto, floats: FloatGraph, name: str, magnitudes: dict[str, str]) -> str:
    """Return the tensor of an input's magnitudes, made once."""
    if name not in magnitudes:
        made = magnitudes[name] = f"scanside.magnitudes/{len(magnitudes)}"
        if name in floats.constants:
            value = np.abs(floats.constants[name])
            graph.initializer.append(numpy_helper.from_array(value, made))
        else:
            graph.node.append(helper.make_node("Abs", [name], [made], name=made))
    return magnitudes[name]
