"""The contract of the graph: every node that breaks it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from scanside.errors import BundleError
from scanside_export.graphspec import INPUT_NAME, INPUT_SHAPE, OPSET, OUTPUTS
from scanside_export.rewrites.constants import RANDOM, unused_initializers, unused_nodes
from scanside_export.rewrites.convolution import foldable
from scanside_export.rewrites.editing import (
    attribute,
    constants,
    consumers,
    inferred_shapes,
    is_default_domain,
    key,
)
from scanside_export.rewrites.interface import BATCH, OFFSET, SCALE, TO_NCHW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

    from scanside.contract import Role

__all__ = ["check_graph", "find_violations"]

_SHAPE_ARITHMETIC: Final = (
    *("ConstantOfShape", "Expand", "Gather", "GatherElements", "GatherND"),
    *("NonZero", "Range", "Shape", "Size", "Where"),
)

_FORBIDDEN: Final = {
    **dict.fromkeys(
        _SHAPE_ARITHMETIC,
        "shapes must be known before the graph runs: reshape to fixed sizes in Keras",
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), "control flow is not part of the contract"),
    **dict.fromkeys(sorted(RANDOM), "an output may not depend on chance: build for inference"),
    "Tile": "nearest UpSampling2D exports so: use interpolation='bilinear'",
    "ConvTranspose": "it stays float under INT8: use bilinear UpSampling2D and Conv2D",
    "BatchNormalization": "it could not be folded: put it directly behind a convolution",
    "Constant": "constants must be initializers",
    "Identity": "it does nothing",
}

_SCALING: Final = (
    ("Cast", onnx.TensorProto.FLOAT),
    ("Mul", SCALE),
    ("Add", OFFSET),
    ("Transpose", TO_NCHW),
)
"""The beginning of a graph: each node with its target type, constant or order of axes."""

_DTYPES: Final = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT64: "int64",
}


def check_graph(model: ModelProto, role: Role) -> None:
    """Refuse a graph that is not of the model contract.

    Parameters
    ----------
    model
        The FP32 ONNX model.
    role
        ``classifier`` or ``segmenter``.

    Raises
    ------
    BundleError
        If anything is not as it must be; the message names every node.
    """
    violations = find_violations(model, role)
    if violations:
        raise BundleError(
            f"the {role}'s graph breaks the model contract in {len(violations)} places",
            accepted=f"opset {OPSET}, float32, static shapes but for the axis {BATCH!r}",
            remedy="change these layers of the Keras model and export it again",
            places=violations,
        )


def find_violations(model: ModelProto, role: Role) -> list[str]:
    """Return everything in which a graph breaks the model contract.

    Parameters
    ----------
    model
        The FP32 ONNX model.
    role
        ``classifier`` or ``segmenter``.

    Returns
    -------
    list of str
        One sentence each, with the node's name; empty for a graph of the contract.
    """
    if outside := list(_outside(model.graph)):
        return outside
    found = [
        *_file(model),
        *_interface(model.graph, role),
        *_nodes(model.graph),
        *_scaling(model.graph),
        *_constants(model.graph),
    ]
    # Each of the rest needs what comes before it to hold.
    return found or list(_checker(model)) or list(_shapes(model))


def _file(model: ModelProto) -> Iterator[str]:
    for entry in model.opset_import:
        if not is_default_domain(entry.domain):
            yield f"the custom operator set {entry.domain!r} is declared"
        elif entry.version != OPSET:
            yield f"the opset is {entry.version}, not {OPSET}"
    if model.functions:
        yield f"{len(model.functions)} local functions are defined"


def _outside(graph: GraphProto) -> Iterator[str]:
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield f"the constant {tensor.name} lies outside the file"


def _interface(graph: GraphProto, role: Role) -> Iterator[str]:
    output = OUTPUTS[role]
    wanted = (
        ("input", graph.input, INPUT_NAME, "uint8", (BATCH, *INPUT_SHAPE)),
        ("output", graph.output, output.name, "float32", (BATCH, *output.shape)),
    )
    for what, values, name, dtype, shape in wanted:
        expected = f"{name} {dtype} {list(shape)}"
        given = [_described(value) for value in values]
        if given != [expected]:
            yield f"the {what}s are {'; '.join(given) or 'none'}, not {expected}"


def _described(value: ValueInfoProto) -> str:
    kind = value.type.tensor_type
    shape = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in kind.shape.dim
    ]
    dtype = _DTYPES.get(kind.elem_type, onnx.TensorProto.DataType.Name(kind.elem_type))
    return f"{value.name} {dtype} {shape}"


def _nodes(graph: GraphProto) -> Iterator[str]:
    known = constants(graph)
    for node in graph.node:
        if not is_default_domain(node.domain):
            yield f"{_of(node)}: the custom domain {node.domain!r}"
        if node.op_type in _FORBIDDEN:
            yield f"{_of(node)}: {_FORBIDDEN[node.op_type]}"
        for entry in node.attribute:
            if (entry.HasField("g") or entry.graphs) and node.op_type not in _FORBIDDEN:
                yield f"{_of(node)}: it holds a graph of its own ({entry.name})"
        yield from _static(node, known)
    for node in unused_nodes(graph):
        yield f"{_of(node)}: no output depends on it"
    for found in foldable(graph):
        chain = ", ".join(node.name for node in found.chain)
        yield f"{_of(found.conv)}: not folded into it: {chain}"


def _static(node: NodeProto, known: dict[str, NDArray[Any]]) -> Iterator[str]:
    """Refuse targets that are computed, and a Resize that is not the bilinear one of Keras."""
    wanted = {"Reshape": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Pad": (1,), "Resize": (2, 3)}
    for at in wanted.get(node.op_type, ()):
        if at < len(node.input) and node.input[at] and node.input[at] not in known:
            yield f"{_of(node)}: its input {node.input[at]} is not a constant"
    if node.op_type == "Resize":
        mode = attribute(node, "mode", b"nearest")
        centre = attribute(node, "coordinate_transformation_mode", b"half_pixel")
        if (mode, centre) != (b"linear", b"half_pixel") or len(node.input) != 3:  # noqa: PLR2004
            yield f"{_of(node)}: not half_pixel linear with constant scales"


def _scaling(graph: GraphProto) -> Iterator[str]:
    """Refuse any way from the input but Cast, Mul 1/128, Add -1, Transpose; any other Cast."""
    readers, known = consumers(graph), constants(graph)
    tensor = graph.input[0].name if graph.input else ""
    path: list[NodeProto] = []
    for op_type, wanted in _SCALING:
        if [node.op_type for node in readers[tensor]] != [op_type]:
            found = ", ".join(map(_of, readers[tensor])) or "nothing"
            yield (
                f"{tensor or 'the input'} goes to {found}, not to one {op_type}: the graph must"
                " begin with (x - 128) / 128 and the change to NCHW"
            )
            break
        path.append(readers[tensor][0])
        yield from _step(path[-1], wanted, known)
        tensor = path[-1].output[0]
    allowed = {key(node) for node in path}
    for node in graph.node:
        if node.op_type in ("Cast", "Transpose") and key(node) not in allowed:
            yield f"{_of(node)}: only the scaled input may have one"


def _step(
    node: NodeProto, wanted: float | tuple[int, ...], known: dict[str, NDArray[Any]]
) -> Iterator[str]:
    """Refuse a step of the scaling with another type, constant or order than it must have."""
    found: object
    if node.op_type == "Cast":
        found = attribute(node, "to", 0)
    elif node.op_type == "Transpose":
        found = tuple(attribute(node, "perm", ()))
    else:
        value = known.get(node.input[1])
        found = value.tolist() if value is not None and value.dtype == np.float32 else None
    if found != wanted:
        yield f"{_of(node)}: its constant is {found}, not {wanted}"


def _constants(graph: GraphProto) -> Iterator[str]:
    for name in unused_initializers(graph):
        yield f"the constant {name} is not used"
    for tensor in graph.initializer:
        if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64):
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            yield f"the constant {tensor.name} is {kind}, not float32 or int64"
        elif not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            yield f"the constant {tensor.name} has values that are not finite"
    if graph.sparse_initializer:
        yield f"{len(graph.sparse_initializer)} constants are sparse"


def _shapes(model: ModelProto) -> Iterator[str]:
    """Refuse tensors with another open axis than the first."""
    shapes = inferred_shapes(model)
    for node in model.graph.node:
        for name in node.output:
            shape = shapes.get(name)
            if shape is None or not all(isinstance(length, int) for length in shape[1:]):
                yield f"{_of(node)}: its output has the shape {list(shape or ())}"


def _checker(model: ModelProto) -> Iterator[str]:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        yield f"onnx.checker: {error}"


def _of(node: NodeProto) -> str:
    return f"{node.name or '(unnamed)'} ({node.op_type})"
