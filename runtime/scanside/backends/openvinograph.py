"""What is done to a Q/DQ graph before OpenVINO compiles it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["VERSION", "enlarge_by_products", "fuse_quantizers"]

VERSION: Final = "2"
"""Raised with every change of what is done here: kept models were compiled from its result."""

_CHAINS: Final = (
    ("Convert", "Convert", "Subtract", "Multiply"),
    ("Convert", "Convert", "Multiply"),
)
"""What follows a FakeQuantize where QuantizeLinear and DequantizeLinear stood in the ONNX file:
to the integer, back to float, less the zero point, times the scale."""

_BILINEAR: Final = {
    "mode": ("linear", "linear_onnx"),
    "coordinate_transformation_mode": ("half_pixel",),
    "antialias": (False,),
}
"""Attributes of an Interpolate that averages the two nearest pixels along each side."""

_SCALES_SECOND: Final = "opset11"
"""The Interpolate whose second input are its factors: what OpenVINO makes of ONNX's Resize."""

_PLANES: Final = 4
"""Axes of a batch of planes: batch, channels, rows, columns."""

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
    return _replace(model, "FakeQuantize", _fuse)


def enlarge_by_products(model: Any) -> int:  # noqa: ANN401 - openvino.Model
    """Make two matrix products of every bilinear enlargement of a single plane.

    Each row and column of the result is a weighted sum of two of the source: a product with a
    matrix that is nearly all zeros. OpenVINO interpolates many channels of a pixel at once, but
    a single plane number by number; the segmenter's last step (128 x 128 to 256 x 256) took it
    0.6 of 5 ms, and the products take 0.15. Values differ by what float32 rounds in another order.

    Parameters
    ----------
    model
        The ``openvino.Model``; changed in place. An enlargement of more planes, of dynamic
        sides, or by another rule than half-pixel centres is left as it is.

    Returns
    -------
    int
        How many enlargements became products.
    """
    return _replace(model, "Interpolate", _enlarge)


def _replace(model: Any, kind: str, replaced: Callable[[Any], bool]) -> int:  # noqa: ANN401
    """Offer every node of a kind to what may replace it; return how many it did."""
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == kind]
    count = sum(map(replaced, found))
    if count:
        model.validate_nodes_and_infer_types()
    return count


def _enlarge(interpolate: Any) -> bool:  # noqa: ANN401
    """Replace one enlargement, if it is one of a single plane."""
    facts = interpolate.get_attributes()
    if any(facts.get(name) not in accepted for name, accepted in _BILINEAR.items()):
        return False
    if any(facts.get("pads_begin", ())) or any(facts.get("pads_end", ())):
        return False
    before, after = interpolate.input_value(0).partial_shape, interpolate.output(0).partial_shape
    if before.rank.is_dynamic or len(before) != _PLANES or before[1] != 1 or after[1] != 1:
        return False
    sides = [*list(before)[2:], *list(after)[2:]]
    if before[0] != after[0] or any(side.is_dynamic for side in sides):
        return False
    height, width, taller, wider = (side.get_length() for side in sides)
    if not _exactly(interpolate, (taller / height, wider / width)):
        return False
    from openvino import opset8

    rows = opset8.constant(_bilinear(height, taller))
    columns = opset8.constant(_bilinear(width, wider))
    across = opset8.matmul(interpolate.input_value(0), columns, False, True)  # noqa: FBT003
    both = opset8.matmul(rows, across, False, False)  # noqa: FBT003
    both.set_friendly_name(interpolate.get_friendly_name())
    for user in list(interpolate.output(0).get_target_inputs()):
        user.replace_source_output(both.output(0))
    return True


def _exactly(interpolate: Any, factors: tuple[float, float]) -> bool:  # noqa: ANN401
    """Return whether the factors that are given, if any, are those of the sides' lengths."""
    if interpolate.get_attributes()["shape_calculation_mode"] != "scales":
        return True
    given = interpolate.input_value(1).get_node()
    if interpolate.get_type_info().version_id != _SCALES_SECOND:
        return False
    held = given.get_data() if given.get_type_name() == "Constant" else ()
    return tuple(float(factor) for factor in held)[-2:] == factors


def _bilinear(side: int, larger: int) -> NDArray[np.float32]:
    """Return the matrix that enlarges a column, centres of pixels aligned: ``[larger, side]``."""
    # Half-pixel centres; beyond the outermost ones the border's value holds.
    at = np.clip((np.arange(larger) + 0.5) * (side / larger) - 0.5, 0, side - 1)
    first = np.minimum(at.astype(int), max(0, side - 2))
    share = at - first
    matrix = np.zeros((larger, side), np.float32)
    matrix[np.arange(larger), first] += 1 - share
    matrix[np.arange(larger), np.minimum(first + 1, side - 1)] += share
    return matrix


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
