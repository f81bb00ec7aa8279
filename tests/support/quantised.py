"""Float models quantised as `scanside calibrate` does it, with ranges of a few slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx.helper import make_empty_tensor_value_info

from scanside_calibration.int8.placement import activations, quantise
from scanside_calibration.int8.ties import IMAGE_AMAX, image_tensors, tie

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantised(model: onnx.ModelProto, slices: NDArray[np.uint8]) -> onnx.ModelProto:
    """The INT8 model with every range as the slices have it."""
    names = activations(model)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(make_empty_tensor_value_info(name) for name in names)
    found = unoptimised(watched.SerializeToString(), slices)
    amax = {
        name: max(float(np.abs(values).max()), 1e-3)
        for name, values in zip(names, found, strict=True)
    }
    amax |= dict.fromkeys(image_tensors(model), IMAGE_AMAX)
    return quantise(model, tie(model, amax))


def unoptimised(model: bytes, slices: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """All outputs on ONNX Runtime's CPU provider with graph optimisation off."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, {"image": slices})
    return outputs
