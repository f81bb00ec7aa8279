"""The int8 peak of this machine: the fastest large integer matrix product that was found.

Matrices of 8-bit integers through ONNX Runtime's MLAS (MatMulInteger) and through OpenVINO's
oneDNN (a quantised MatMul), on one thread and on all; beside it that of float32 on all threads,
through the BLAS that NumPy has. A model can come near it only in convolutions that are large
enough; the share that it reaches says what is left.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from peerbench.protocol import emit

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES: Final = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 1024, 1024), (1024, 4096, 1024))
"""Rows, inner size and columns: from what fits the second-level cache to far more."""

_REPEATS: Final = 7


def main() -> None:
    """Run the case."""
    cores = len(os.sched_getaffinity(0))
    found = [
        {"library": library, "threads": threads, "size": list(size), "gmacs": gmacs}
        for threads in sorted({1, cores})
        for size in _SIZES
        for library, make in (("ONNX Runtime", _ort), ("OpenVINO", _openvino))
        for gmacs in [_rate(make(size, threads), size)]
    ]
    best = {
        str(threads): max((row for row in found if row["threads"] == threads), key=_gmacs)
        for threads in sorted({1, cores})
    }
    emit(
        "peak",
        best=best,
        all_threads=best[str(cores)]["gmacs"],
        float32=max(_rate(_numpy(size), size) for size in _SIZES),
        measured=found,
    )


def _gmacs(row: dict[str, Any]) -> float:
    return float(row["gmacs"])


def _rate(call: Callable[[], object], size: tuple[int, int, int]) -> float:
    """Return 1e9 multiply-accumulates a second, the fastest of some."""
    call()
    call()
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    # The median of the better half: a peak is what the machine can do when nothing disturbs it.
    return float(np.prod(size) / statistics.median(sorted(seconds)[: _REPEATS // 2 + 1]) / 1e9)


def _ort(size: tuple[int, int, int], threads: int) -> Callable[[], object]:
    import onnxruntime

    rows, inner, columns = size
    weight = _weight(inner, columns)
    model = _model(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        {"b": weight},
        (rows, inner),
        (rows, columns, TensorProto.INT32),
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    image = _activations(rows, inner)
    return lambda: session.run(None, {"a": image})


def _openvino(size: tuple[int, int, int], threads: int) -> Callable[[], object]:
    import openvino

    rows, inner, columns = size
    scale, bias = np.float32(1 / 255), np.uint8(0)
    model = _model(
        [
            helper.make_node("DequantizeLinear", ["a", "s", "z"], ["x"]),
            helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["w"], axis=1),
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("QuantizeLinear", ["m", "so", "z"], ["y"]),
        ],
        {
            "b": _weight(inner, columns),
            "s": scale,
            "z": bias,
            "sb": np.full(columns, 1 / 127, np.float32),
            "zb": np.zeros(columns, np.int8),
            "so": np.float32(inner / 255),
        },
        (rows, inner),
        (rows, columns, TensorProto.UINT8),
    )
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    image = _activations(rows, inner)
    return lambda: request.infer({0: image}, share_inputs=True)


def _numpy(size: tuple[int, int, int]) -> Callable[[], object]:
    rows, inner, columns = size
    generator = np.random.default_rng(2)
    left = generator.random((rows, inner), dtype=np.float32)
    right = generator.random((inner, columns), dtype=np.float32)
    return lambda: left @ right


def _weight(inner: int, columns: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    return np.random.default_rng(0).integers(-64, 64, (inner, columns), dtype=np.int8)


def _activations(rows: int, inner: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 127, (rows, inner), dtype=np.uint8)


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any],
    given: tuple[int, int],
    result: tuple[int, int, int],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, given)],
        [helper.make_tensor_value_info("y", result[2], result[:2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    main()
