"""What rounding to FP16 does to a model's constants.

Weights have eleven significant bits in FP16 down to 6.1e-5, fewer below (subnormal), and are
nothing below 3e-8. Batch normalisation that was folded into a convolution leaves such weights
in channels of little variance. Rounding is to nearest, as `numpy.ndarray.astype` does it:
nothing is clamped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside_calibration.half.graphs import FIXED_INPUTS, label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from onnx import NodeProto

    from scanside_calibration.half.graphs import FloatGraph

__all__ = ["MAX_LOSS", "Rounding", "round_constants"]

_SMALLEST_NORMAL: Final = float(np.finfo(np.float16).smallest_normal)

MAX_LOSS: Final = 2.0**-11
"""Largest error of a node's output, as a share of its largest value, that constants below
FP16's normal numbers may cause: what rounding that value itself to FP16 costs anyway."""


class Rounding(NamedTuple):
    """What rounding does to one constant input of a node.

    Attributes
    ----------
    node, tensor
        The node and its constant.
    values
        How many numbers the constant has.
    overflowed
        Those that FP16 cannot hold: 65520 and more.
    zeroed
        Those that are not zero and become zero.
    subnormal
        Those that keep fewer than eleven bits.
    loss
        A bound on the error of the node's output that the zeroed and the subnormal ones cause,
        as a share of its largest value.
    """

    node: str
    tensor: str
    values: int
    overflowed: int
    zeroed: int
    subnormal: int
    loss: float

    @property
    def tolerable(self) -> bool:
        """Whether the node may compute with the constant in FP16."""
        return not self.overflowed and self.loss <= MAX_LOSS


def round_constants(
    node: NodeProto, floats: FloatGraph, largest: Mapping[str, float]
) -> Iterator[Rounding]:
    """Say what rounding does to each float constant of a node.

    Parameters
    ----------
    node
        A node of the FP32 model.
    floats
        What `read_float_graph` found in the model.
    largest
        The largest absolute value of each activation.

    Yields
    ------
    Rounding
        One a constant.
    """
    fixed = FIXED_INPUTS.get(node.op_type, frozenset())
    output = max((largest.get(name, 0.0) for name in node.output), default=0.0)
    for at, name in enumerate(node.input):
        if name not in floats.constants or at in fixed:
            continue
        value = floats.constants[name]
        with np.errstate(over="ignore"):
            rounded = value.astype(np.float16).astype(np.float32)
        small = (value != 0) & (np.abs(value) < _SMALLEST_NORMAL)
        error = np.where(small, np.abs(value - rounded), np.float32(0)).astype(np.float64)
        bound = _output_error(node, at, error, _other_input(node, at, floats, largest))
        yield Rounding(
            node=label(node),
            tensor=name,
            values=value.size,
            overflowed=int((np.isfinite(value) & ~np.isfinite(rounded)).sum()),
            zeroed=int((small & (rounded == 0)).sum()),
            subnormal=int((small & (rounded != 0)).sum()),
            loss=_share(bound, output),
        )


def _share(bound: float, output: float) -> float:
    if bound == 0:
        return 0.0
    return bound / output if output else float("inf")


def _other_input(
    node: NodeProto, at: int, floats: FloatGraph, largest: Mapping[str, float]
) -> float:
    """Return the largest absolute value of the input that a constant is multiplied with."""
    name = node.input[1 - at] if at < 2 and len(node.input) > 1 else ""  # noqa: PLR2004
    if name in floats.constants:
        return float(np.abs(floats.constants[name]).max(initial=0.0))
    return largest.get(name, 0.0)


def _output_error(node: NodeProto, at: int, error: NDArray[Any], other: float) -> float:
    """Bound the error of a node's output by that of one constant input."""
    if not error.any():
        return 0.0
    if node.op_type == "Div" and at == 1:
        return float("inf")  # a divisor of that size makes anything large
    if at > 1 or node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul", "Mul"}:
        return float(error.max())
    if node.op_type == "Mul":
        return float(error.max()) * other
    return float(_summed(node, error).max()) * other


def _summed(node: NodeProto, error: NDArray[Any]) -> NDArray[Any]:
    """Add up the errors of the weights that meet in one output value."""
    if node.op_type == "Conv":
        return np.asarray(error.reshape(len(error), -1).sum(axis=1))
    if error.ndim < 2 or node.op_type == "ConvTranspose":  # noqa: PLR2004
        return np.asarray(error.sum())
    return np.asarray(max(error.sum(axis=-1).max(), error.sum(axis=-2).max()))
