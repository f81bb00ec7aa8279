"""The range of every intermediate value of a float model, over slices.

Each float tensor gets three reductions inside the graph itself, so that ONNX Runtime hands out
three numbers a tensor and frees each activation as soon as its last reader is done: the memory
is that of a plain inference, for a full-size ResNet-50 as well. Graph optimisation is off, so
that every tensor named in the file is really computed and none is fused away.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import onnx
from onnx import TensorProto, helper

from scanside.errors import BundleError, InputError
from scanside_calibration.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

__all__ = ["Range", "float_activations", "measure_ranges"]

_REDUCTIONS: Final = ("ReduceMin", "ReduceMax", "ReduceL1")
"""Smallest, largest, and the sum of magnitudes. ONNX Runtime's minimum and maximum may step
over a NaN (it compares false with everything); a sum never does."""


class Range(NamedTuple):
    """What a tensor's values were, over all slices.

    Attributes
    ----------
    node
        The node that makes the tensor.
    minimum, maximum
        The smallest and the largest value.
    """

    node: str
    minimum: float
    maximum: float

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(self.minimum), abs(self.maximum))


def measure_ranges(
    model: ModelProto,
    batches: Iterable[NDArray[np.uint8]],
    *,
    tensors: Collection[str] | None = None,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Range]:
    """Run a float model over slices and note the range of every float tensor that a node makes.

    Parameters
    ----------
    model
        An FP32 ONNX model whose one input is the slices; it is not changed.
    batches
        uint8 ``[N, 256, 256, 3]`` each, consumed one at a time; the sizes may differ.
    tensors
        Only these; None for all.
    threads
        Threads that compute; 0 for all cores.
    progress
        Called after each batch with the number of slices done.

    Returns
    -------
    dict
        `Range` by the name of the tensor, in the order in which the graph computes them.

    Raises
    ------
    ExtraNotInstalledError
        If onnxruntime is not installed.
    BackendError
        If ONNX Runtime refuses the model.
    BundleError
        If a value is NaN or infinite: the model is broken in FP32 already. The message names
        the first tensor and its node.
    InputError
        If there is no batch.
    """
    makers = float_activations(model)
    names = [name for name in makers if tensors is None or name in tensors]
    content = _instrumented(model, names).SerializeToString()
    session = open_session(content, threads=threads, optimised=False)
    outputs = [_reduced(at, kind) for at in range(len(names)) for kind in _REDUCTIONS]
    (image,) = (value.name for value in session.get_inputs())
    low, high = [math.inf] * len(names), [-math.inf] * len(names)
    done = 0
    for batch in batches:
        found = [float(value) for value in session.run(outputs, {image: batch})]
        for at, (smallest, biggest, total) in enumerate(_threes(found)):
            # An infinite value shows in the extremes; the sum alone may overflow without one.
            if math.isnan(total) or not (math.isfinite(smallest) and math.isfinite(biggest)):
                raise _not_finite(names[at], makers[names[at]], done, len(batch))
            low[at], high[at] = min(low[at], smallest), max(high[at], biggest)
        done += len(batch)
        if progress is not None:
            progress(done)
    if not done:
        raise InputError("there are no slices to measure ranges on", accepted="at least one batch")
    return {name: Range(makers[name], low[at], high[at]) for at, name in enumerate(names)}


def float_activations(model: ModelProto) -> dict[str, str]:
    """Return the float32 tensors that nodes make, each with its node's name, in graph order.

    Parameters
    ----------
    model
        An ONNX model whose types can be inferred.

    Raises
    ------
    BundleError
        If ONNX finds the model's types inconsistent.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise BundleError(
            f"the types of the model's tensors can't be inferred: {error}",
            remedy="export the bundle again",
        ) from error
    floats = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return {
        name: node.name or node.output[0]
        for node in model.graph.node
        for name in node.output
        if name in floats
    }


def _instrumented(model: ModelProto, names: list[str]) -> ModelProto:
    """Return a copy whose outputs are the reductions of the named tensors, and nothing else."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes: list[NodeProto] = []
    for at, name in enumerate(names):
        for reduction in _REDUCTIONS:
            output = _reduced(at, reduction)
            nodes.append(helper.make_node(reduction, [name], [output], keepdims=0))
    copy.graph.node.extend(nodes)
    copy.graph.ClearField("output")
    copy.graph.output.extend(
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, []) for node in nodes
    )
    return copy


def _reduced(at: int, reduction: str) -> str:
    return f"scanside.ranges/{at}/{reduction}"


def _threes(values: list[float]) -> Iterator[tuple[float, float, float]]:
    return zip(values[::3], values[1::3], values[2::3], strict=True)


def _not_finite(tensor: str, node: str, done: int, size: int) -> BundleError:
    return BundleError(
        f"the FP32 model gives values that are NaN or infinite: {tensor}, made by the node"
        f" {node}, on slices {done + 1} to {done + size}",
        accepted="a model whose every intermediate value is finite",
        remedy="train or export it again: no lower precision can be derived from it",
    )
