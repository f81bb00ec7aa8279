"""What the two ONNX graphs look like from outside, and their operator set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from scanside.contract import Role

__all__ = ["INPUT_NAME", "INPUT_SHAPE", "OPSET", "OUTPUTS", "Output"]

OPSET: Final = 17
"""The newest operator set that the parser of TensorRT 8.5 and 8.6 (JetPack 6.0) reads, and new
enough for everything in the graphs. FP16 models with Q/DQ need 19 for their FP16 scales, which
TensorRT 10 reads: what derives them raises it.

References
----------
https://github.com/onnx/onnx-tensorrt/blob/release/8.5-GA/docs/operators.md: "TensorRT 8.5
supports operators up to Opset 17".
"""

INPUT_NAME: Final = "image"

INPUT_SHAPE: Final = (SIDE, SIDE, len(CHANNELS))
"""Shape of the uint8 input without the batch axis."""


class Output(NamedTuple):
    """The one output of a model, float32.

    Attributes
    ----------
    name
        Its name in the ONNX graph.
    shape
        Its shape without the batch axis.
    """

    name: str
    shape: tuple[int, ...]


OUTPUTS: Final[dict[Role, Output]] = {
    "classifier": Output("tumor_probability", (1,)),
    "segmenter": Output("mask_probability", (SIDE, SIDE)),
}
