"""A plain OpenVINO script: two compiled models of static shape, the gate between them.

Options: ``precision`` is the value of ``INFERENCE_PRECISION_HINT``, empty for OpenVINO's own
choice, which is bf16 where the CPU has it; ``lanes`` above 1 compiles for throughput and has as
many threads read, analyse and ask, each with its own infer requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

from cases.common import PerThread, measure, one_by_one, two_stages
from peerbench.protocol import emit, read_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def main() -> None:
    """Run the case."""
    job = read_job()
    lanes = int(job.options.get("lanes", "1"))
    hint = job.options.get("precision", "")
    settings = {"PERFORMANCE_HINT": "THROUGHPUT" if lanes > 1 else "LATENCY"}
    if lanes > 1:
        settings["NUM_STREAMS"] = str(lanes)
    if hint:
        settings["INFERENCE_PRECISION_HINT"] = hint
    core = openvino.Core()
    models = [_compiled(core, path, settings) for path in (job.classifier, job.segmenter)]
    classify, segment = (PerThread(_request(model)) for model in models)
    analyse = two_stages(classify, segment, job)
    emit("facts", precision=models[0].get_property("INFERENCE_PRECISION_HINT").to_string())
    measure(job, analyse, one_by_one(analyse, lanes))


def _compiled(core: Any, path: str, settings: dict[str, str]) -> Any:  # noqa: ANN401
    model = core.read_model(path)
    model.reshape([1, *list(model.inputs[0].get_partial_shape())[1:]])
    return core.compile_model(model, "CPU", settings)


def _request(model: Any) -> Callable[[], Callable[..., NDArray[np.float32]]]:  # noqa: ANN401
    def make() -> Callable[..., NDArray[np.float32]]:
        request = model.create_infer_request()

        def call(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            request.infer({0: images}, share_inputs=True)
            return np.asarray(request.get_output_tensor().data)

        return call

    return make


if __name__ == "__main__":
    main()
