"""Biases corrected for the mean shift that rounding the weights and activations brings.

Rounded weights move the mean of each output channel. The shift is known from data, and the
bias, which stays float, takes it back: nothing is added to the graph.

References
----------
Nagel, van Baalen, Blankevoort, Welling (2019): Data-free quantization through weight
equalization and bias correction. ICCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scanside.errors import BundleError, InputError
from scanside_calibration.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

__all__ = ["correct_biases"]

_PREFIX: Final = "scanside.bias/"
_WITH_BIAS: Final = 3
_PLANE: Final = (0, 2, 3)


def correct_biases(
    fp32: ModelProto, int8: ModelProto, batches: Iterable[NDArray[np.uint8]], *, threads: int = 0
) -> ModelProto:
    """Return the quantised model with the biases of its quantised convolutions corrected.

    Each convolution is computed twice on the float model's activations, as it is and as it is
    quantised; the difference of the channels' means over all slices and pixels comes off the
    bias. So each is right by itself, and no correction counts another's shift a second time.

    Parameters
    ----------
    fp32
        The float model.
    int8
        What `placement.quantise` made of it; it is not changed.
    batches
        uint8 ``[N, 256, 256, 3]`` each; a few dozen slices suffice.
    threads
        Threads that compute; 0 for all cores.

    Raises
    ------
    InputError
        If there is no slice.
    BundleError
        If the two models don't belong together, or a mean is not finite.
    BackendError, ExtraNotInstalledError
        If ONNX Runtime refuses the models, or is not installed.
    """
    probe, names = _probe(fp32, int8)
    if not names:
        return _copy(int8)
    session = open_session(probe.SerializeToString(), threads=threads)
    (image,) = (value.name for value in session.get_inputs())
    outputs = [_PREFIX + name for name in names]
    totals: list[Any] = [0.0] * len(names)
    done = 0
    for batch in batches:
        for piece in batch:
            for at, shift in enumerate(session.run(outputs, {image: piece[None]})):
                totals[at] = totals[at] + shift.astype(np.float64)
        done += len(batch)
    if not done:
        raise InputError("there are no slices to correct biases on", accepted="at least one batch")
    return _corrected(int8, {name: totals[at] / done for at, name in enumerate(names)})


def _copy(model: ModelProto) -> ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _probe(fp32: ModelProto, int8: ModelProto) -> tuple[ModelProto, list[str]]:
    """Return the float model with every quantised convolution beside its float one.

    The outputs are the means of the differences. Pairs of QuantizeLinear and DequantizeLinear
    come over by name, since they read the float tensors there as here.
    """
    probe = _copy(fp32)
    graph = probe.graph
    floats = {node.name: node for node in fp32.graph.node}
    makers = {name: node for node in int8.graph.node for name in node.output}
    wanted = [
        node
        for node in int8.graph.node
        if node.op_type == "Conv" and node.input[1] in makers and node.name in floats
    ]
    needed: dict[str, NodeProto] = {}
    added = []
    for node in wanted:
        for tensor in (node.input[0], node.input[1]):
            dequantize = makers[tensor]
            if quantize := makers.get(dequantize.input[0]):
                needed.setdefault(quantize.name, quantize)
            needed.setdefault(dequantize.name, dequantize)
        added += _difference(floats[node.name], node)
    held = {tensor.name for tensor in graph.initializer}
    used = {name for node in [*needed.values(), *added] for name in node.input}
    graph.initializer.extend(
        tensor for tensor in int8.graph.initializer if tensor.name in used - held
    )
    graph.node.extend([*needed.values(), *added])
    names = [node.name for node in wanted]
    graph.ClearField("output")
    graph.output.extend(
        helper.make_tensor_value_info(_PREFIX + name, TensorProto.FLOAT, None) for name in names
    )
    return probe, names


def _difference(plain: NodeProto, quantised: NodeProto) -> list[NodeProto]:
    """Compute the quantised convolution, its difference from the float one, and the mean."""
    twin = onnx.NodeProto()
    twin.CopyFrom(quantised)
    name = _PREFIX + quantised.name
    twin.name, twin.output[0] = f"{name}/twin", f"{name}/twin"
    return [
        twin,
        helper.make_node("Sub", [f"{name}/twin", plain.output[0]], [f"{name}/difference"]),
        helper.make_node(
            "ReduceMean", [f"{name}/difference"], [name], axes=list(_PLANE), keepdims=0
        ),
    ]


def _corrected(int8: ModelProto, shifts: dict[str, NDArray[np.float64]]) -> ModelProto:
    result = _copy(int8)
    graph = result.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.name not in shifts:
            continue
        shift = shifts[node.name]
        if not np.isfinite(shift).all():
            raise BundleError(
                f"the shift of {node.name} is NaN or infinite", remedy="export the bundle again"
            )
        # A constant of its own for each: two convolutions may have shared one.
        old = numpy_helper.to_array(held[node.input[2]]) if len(node.input) == _WITH_BIAS else 0.0
        name = f"{node.name}/corrected_bias"
        graph.initializer.append(numpy_helper.from_array((old - shift).astype(np.float32), name))
        if len(node.input) == _WITH_BIAS:
            node.input[2] = name
        else:
            node.input.append(name)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)
    onnx.checker.check_model(result, full_check=True)
    return result
