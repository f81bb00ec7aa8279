"""A small float graph with everything the INT8 placement treats differently.

A stem, a padded pool, a residual block, a Resize into a Concat, a mask whose logits are
resized, and a pooled head with a matrix and a constant added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 16
OPSET = 17


def build(seed: int = 0, **replaced: Any) -> onnx.ModelProto:
    """The graph with drawn weights; `replaced` are constants given by the caller."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> NDArray[np.float32]:
        size = np.prod(shape[1:]) if len(shape) > 1 else 25
        return (rng.normal(size=shape) / np.sqrt(size)).astype(np.float32)

    constants: dict[str, Any] = {
        "one_128th": np.float32(1 / 128), "minus_one": np.float32(-1),
        "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "roi": np.zeros(0, np.float32),
        "double": np.float32([1, 1, 2, 2]), "axes": np.int64([2, 3]),
        "stem/w": drawn(8, 3, 3, 3), "stem/b": drawn(8),
        "a/w": drawn(8, 8, 3, 3), "a/b": drawn(8), "b/w": drawn(8, 8, 3, 3), "b/b": drawn(8),
        "join/w": drawn(8, 16, 3, 3), "join/b": drawn(8),
        "logits/w": drawn(1, 8, 1, 1), "logits/b": drawn(1),
        "dense/w": drawn(8, 1), "dense/b": drawn(1),
        **replaced,
    }  # fmt: skip
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [
        make_node("Cast", ["image"], ["cast"], "scale/Cast", to=TensorProto.FLOAT),
        make_node("Mul", ["cast", "one_128th"], ["unit"], "scale/Mul"),
        make_node("Add", ["unit", "minus_one"], ["centred"], "scale/Add"),
        make_node("Transpose", ["centred"], ["nchw"], "scale/Transpose", perm=[0, 3, 1, 2]),
        make_node("Conv", ["nchw", "stem/w", "stem/b"], ["stem/y"], "stem", **same),
        make_node("Relu", ["stem/y"], ["stem/r"], "stem/Relu"),
        make_node("Pad", ["stem/r", "pads"], ["padded"], "pad"),
        make_node("MaxPool", ["padded"], ["pooled"], "pool", kernel_shape=[3, 3], strides=[2, 2]),
        make_node("Conv", ["pooled", "a/w", "a/b"], ["a/y"], "a", **same),
        make_node("Relu", ["a/y"], ["a/r"], "a/Relu"),
        make_node("Conv", ["a/r", "b/w", "b/b"], ["b/y"], "b", **same),
        make_node("Add", ["pooled", "b/y"], ["sum"], "residual"),
        make_node("Relu", ["sum"], ["block"], "block/Relu"),
        make_node("Resize", ["block", "roi", "double"], ["up"], "up", **linear),
        make_node("Concat", ["stem/r", "up"], ["both"], "concat", axis=1),
        make_node("Conv", ["both", "join/w", "join/b"], ["join/y"], "join", **same),
        make_node("Relu", ["join/y"], ["join/r"], "join/Relu"),
        make_node("Conv", ["join/r", "logits/w", "logits/b"], ["logits/y"], "logits"),
        make_node("Resize", ["logits/y", "roi", "double"], ["large"], "logits/Resize", **linear),
        make_node("Sigmoid", ["large"], ["mask"], "mask"),
        make_node("GlobalAveragePool", ["block"], ["mean"], "mean"),
        make_node("Squeeze", ["mean", "axes"], ["flat"], "flat"),
        make_node("MatMul", ["flat", "dense/w"], ["product"], "dense"),
        make_node("Add", ["product", "dense/b"], ["logit"], "dense/Add"),
        make_node("Sigmoid", ["logit"], ["probability"], "probability"),
    ]
    graph = make_graph(
        nodes,
        "residual",
        [make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [
            make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 1, 2 * SIDE, 2 * SIDE]),
            make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def images(count: int = 4, seed: int = 1) -> NDArray[np.uint8]:
    """Slices of noise, ``[count, 16, 16, 3]``."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def run(model: onnx.ModelProto, slices: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """The outputs on ONNX Runtime's CPU provider, mask first."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs: list[NDArray[Any]] = session.run(None, {"image": slices})
    return outputs
