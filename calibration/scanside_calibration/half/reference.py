"""An FP16 model in real FP16 arithmetic, on a few slices.

ONNX Runtime's CPU provider has no FP16 convolution on x86: it casts to FP32 around every node,
and nothing overflows there that would on a GPU. `onnx.reference` computes with NumPy's float16:
every operand and every stored value is FP16, and goes to infinity where FP16 does. Its
convolutions and products add up in FP32 and round once (NumPy's inner loop for half), as a GPU's
tensor cores do in their usual mode, and it stores the sum before the bias is added too, which a
GPU does not. Partial sums in FP16, which a GPU may choose, are not computed here: the bound in
`scanside_calibration.half.sums` covers them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from scanside.errors import BackendError, ParityError
from scanside_calibration.half.graphs import label

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

__all__ = ["compute_reference"]


def compute_reference(model: ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute a typed model in FP16 arithmetic, one slice at a time.

    Parameters
    ----------
    model
        An FP16 model with one output.
    images
        uint8 ``[N, 256, 256, 3]``, at least one.

    Returns
    -------
    ndarray of float32
        The output, ``[N, ...]``. A full-size ResNet-50 takes about a minute a slice.

    Raises
    ------
    ParityError
        If any value is NaN or infinite: the message names the first node and the slice.
    BackendError
        If `onnx.reference` cannot compute the model.
    """
    evaluator = ReferenceEvaluator(model)
    makers = {name: label(node) for node in model.graph.node for name in node.output}
    (feed,), (output,) = model.graph.input, model.graph.output
    results = []
    for at, image in enumerate(images):
        values = _run(evaluator, {feed.name: image[np.newaxis]})
        for name, node in makers.items():
            value = values.get(name)
            if value is not None and value.dtype.kind == "f" and not np.isfinite(value).all():
                raise _not_finite(node, name, at)
        results.append(values[output.name])
    return np.concatenate(results)


def _run(evaluator: Any, feeds: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    try:
        # An overflow is looked for by value, node by node: NumPy's warning names no node.
        with np.errstate(all="ignore"):
            found: dict[str, Any] = evaluator.run(None, feeds, intermediate=True)
    except Exception as error:  # onnx.reference passes on whatever an operator raises
        raise BackendError(
            f"onnx.reference cannot compute the FP16 model: {error}",
            remedy="install the onnx that the calibrate extra asks for",
        ) from error
    return found


def _not_finite(node: str, tensor: str, at: int) -> ParityError:
    return ParityError(
        f"in FP16 the node {node} makes NaN or infinity ({tensor}, golden slice {at + 1})",
        accepted="finite values everywhere",
        remedy="calibrate with more slices or a larger margin, so that the node stays in float32",
    )
