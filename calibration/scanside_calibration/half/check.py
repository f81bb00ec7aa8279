"""The rules that a typed model must keep, checked on the result alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from scanside.errors import InternalError
from scanside_calibration.half.graphs import FIXED_INPUTS, label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import ModelProto

__all__ = ["check_typed", "find_type_violations"]

_FLOATS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


def check_typed(model: ModelProto) -> None:
    """Refuse a typed model that breaks a rule of its making.

    Raises
    ------
    InternalError
        If it does: whatever the FP32 model was, that is a defect of the conversion.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InternalError(f"the FP16 model is not valid ONNX: {error}") from error
    if violations := find_type_violations(model):
        raise InternalError("the FP16 model is not well typed: " + "; ".join(violations))


def find_type_violations(model: ModelProto) -> list[str]:
    """Return everything in which a typed model breaks the rules.

    A node's float inputs and outputs have one type (strongly typed TensorRT takes no mix), no
    Cast reads another Cast's output or changes nothing, the graph's outputs are float32, and
    no constant is stored that is not read.

    Parameters
    ----------
    model
        An FP16 model.

    Returns
    -------
    list of str
        One sentence each.

    References
    ----------
    https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "Strongly
    Typed Networks": the types of the outputs are inferred from those of the inputs.
    """
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return [*_mixes(model, types), *_idle_casts(model, types), *_interface(model, types)]


def _mixes(model: ModelProto, types: dict[str, int]) -> Iterator[str]:
    for node in model.graph.node:
        if node.op_type == "Cast":
            continue
        fixed = FIXED_INPUTS.get(node.op_type, frozenset())
        names = [name for at, name in enumerate(node.input) if at not in fixed]
        found = {types[name] for name in (*names, *node.output) if types.get(name) in _FLOATS}
        if len(found) > 1:
            yield f"{label(node)} ({node.op_type}) mixes float16 and float32"


def _idle_casts(model: ModelProto, types: dict[str, int]) -> Iterator[str]:
    casts = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Cast":
            continue
        if node.input[0] in casts:
            yield f"{label(node)} casts what was just cast"
        if node.input[0] in constants:
            yield f"{label(node)} casts a constant"
        if types.get(node.input[0]) == types.get(node.output[0]):
            yield f"{label(node)} changes nothing"


def _interface(model: ModelProto, types: dict[str, int]) -> Iterator[str]:
    for value in model.graph.output:
        if types[value.name] != TensorProto.FLOAT:
            yield f"the output {value.name} is {_FLOATS.get(types[value.name], 'no float32')}"
    read = {name for node in model.graph.node for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.name not in read:
            yield f"the constant {tensor.name} is not read"
