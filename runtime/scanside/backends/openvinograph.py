"""What is done to a Q/DQ graph before OpenVINO compiles it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FUSION", "fuse_quantizers"]

FUSION: Final = "fuse_quantizers/1"
"""Name and version of the rewrite: compiled models that are kept were made with it."""

_CHAINS: Final = (
    ("Convert", "Convert", "Subtract", "Multiply"),
    ("Convert", "Convert", "Multiply"),
)
"""What follows a FakeQuantize where QuantizeLinear and DequantizeLinear stood in the ONNX file:
to the integer, back to float, less the zero point, times the scale."""

_THROUGH: Final = {"Convert", "Reshape"}
"""Operations between a constant and its use that don't change the value of a scalar."""


def fuse_quantizers(model: Any) -> int:  # noqa: ANN401 - openvino.Model
    """Make one FakeQuantize of every pair of QuantizeLinear and DequantizeLinear.

    The function is the same; other kernels are chosen for it, and their rounding differs.

    OpenVINO does this too, but only after it has moved the strides of 1x1 convolutions up through
    DequantizeLinear, as far as QuantizeLinear. Pairs that were parted so are not recognised:
    in ResNet-50 six convolutions then compute in float, which costs a quarter of the time.

    Parameters
    ----------
    model
        The ``openvino.Model``, as it was read; changed in place. A pair with scales by channel,
        or with other users between its two halves, is left as it is.

    Returns
    -------
    int
        How many pairs were fused.
    """
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    fused = sum(_fuse(node) for node in found)
    if fused:
        model.validate_nodes_and_infer_types()
    return fused


def _fuse(quantize: Any) -> bool:  # noqa: ANN401
    """Fuse one pair, if it is one."""
    chain = _chain(quantize)
    if tuple(node.get_type_name() for node in chain) not in _CHAINS:
        return False
    multiply = chain[-1]
    scale = _scalar(multiply.input_value(1))
    zero_point = _scalar(chain[2].input_value(1)) if len(chain) == len(_CHAINS[0]) else 0.0
    low, high = (_scalar(quantize.input_value(n)) for n in (3, 4))
    if scale is None or zero_point is None or low is None or high is None:
        return False
    from openvino import opset8

    one = opset8.fake_quantize(
        quantize.input_value(0),
        quantize.input_value(1),
        quantize.input_value(2),
        opset8.constant(_float(low, zero_point, scale)),
        opset8.constant(_float(high, zero_point, scale)),
        quantize.get_attributes()["levels"],
    )
    one.set_friendly_name(multiply.get_friendly_name())
    for user in list(multiply.output(0).get_target_inputs()):
        user.replace_source_output(one.output(0))
    return True


def _chain(node: Any) -> list[Any]:  # noqa: ANN401
    """Return the sole users that follow, one after the other, up to the first Multiply."""
    chain: list[Any] = []
    while len(chain) < len(_CHAINS[0]):
        users = node.output(0).get_target_inputs()
        if len(users) != 1:
            break
        node = next(iter(users)).get_node()
        chain.append(node)
        if node.get_type_name() == "Multiply":
            break
    return chain


def _scalar(source: Any) -> float | None:  # noqa: ANN401
    """Return the constant of one element at an output; none if it is anything else."""
    node = source.get_node()
    while node.get_type_name() in _THROUGH:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        return None
    data: NDArray[Any] = node.get_data()
    return float(data.reshape(-1)[0]) if data.size == 1 else None


def _float(level: float, zero_point: float, scale: float) -> np.float32:
    """Return what DequantizeLinear makes of an integer level."""
    value: np.float32 = np.float32(level - zero_point) * np.float32(scale)
    return value
