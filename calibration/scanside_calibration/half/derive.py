"""From an FP32 model to an FP16 model with its certificate."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from scanside.errors import BackendError, BundleError, InputError, ParityError, UsageError
from scanside.evidence import HalfCertificate
from scanside_calibration.half.check import check_typed
from scanside_calibration.half.convert import convert
from scanside_calibration.half.graphs import key, label, read_float_graph
from scanside_calibration.half.plan import HALF_MAX, plan_types
from scanside_calibration.half.reference import compute_reference
from scanside_calibration.half.sums import with_partial_sums
from scanside_calibration.half.weights import round_constants
from scanside_calibration.ranges import measure_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto

    from scanside_calibration.half.graphs import FloatGraph
    from scanside_calibration.half.weights import Rounding
    from scanside_calibration.ranges import Range

__all__ = ["MARGIN", "MAX_ERROR", "HalfModel", "Material", "derive_half"]

MARGIN: Final = 8.0
"""Smallest quotient of FP16's largest number and any value on real slices. Slices that no
scanner gives (white, black and white noise, checkerboards) raised no activation of the shipped
models by more than 3.04 over real ones; 8 leaves a factor of two and more beyond that."""

MAX_ERROR: Final = 0.1
"""Largest difference of an output from FP32's on the golden slices. Both outputs are
probabilities; the shipped classifier differs by 0.0012 and the mask by 0.028 at its worst
pixel, on a steep edge. This finds broken models: the accuracy guard judges the others."""

_BATCH: Final = 4
"""Slices at once: more are not faster on a CPU, and the activations of a full-size ResNet-50
take about 50 MB each."""


class Material(Protocol):
    """Real slices to look at; `scanside_calibration.material.CalibrationSet` is one."""

    @property
    def images_sha256(self) -> str:
        """Hash of the prepared slices in their order."""
        ...

    @property
    def patients(self) -> tuple[str, ...]:
        """Whose they are."""
        ...

    def __len__(self) -> int:
        """Return the number of slices."""
        ...

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the prepared slices, uint8 ``[N, 256, 256, 3]``, `size` at a time."""
        ...


class HalfModel(NamedTuple):
    """An FP16 model and what is known of it.

    Attributes
    ----------
    model
        Typed ONNX: FP16 but for the certificate's `float32_nodes`.
    certificate
        For the manifest.
    float32
        Why, by the label of each node that stays in float32.
    ranges
        The FP32 model's ranges on the real slices by tensor.
    sums
        The largest partial sum by the label of each accumulating node.
    roundings
        What rounding does to each constant of a node that could be FP16.
    """

    model: ModelProto
    certificate: HalfCertificate
    float32: dict[str, str]
    ranges: dict[str, Range]
    sums: dict[str, float]
    roundings: tuple[Rounding, ...]


def derive_half(
    fp32: ModelProto,
    material: Material,
    golden: NDArray[np.uint8],
    *,
    margin: float = MARGIN,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> HalfModel:
    """Derive an FP16 model from an FP32 one.

    Parameters
    ----------
    fp32
        The bundle's FP32 model, uint8 in, float32 out; it is not changed.
    material
        Real slices: every intermediate value is looked at on all of them.
    golden
        uint8 ``[N, 256, 256, 3]``, computed in FP16 arithmetic. That takes seconds a slice, for
        full-size models a minute and more: a few slices of both classes do.
    margin
        Values above 65504 divided by it stay in float32; more than 1.
    threads
        Threads that look at the real slices; 0 for all cores.
    progress
        Called with the number of real slices done.

    Returns
    -------
    HalfModel
        Checked: valid ONNX, well typed, finite and close to FP32 in FP16 arithmetic and on
        ONNX Runtime.

    Raises
    ------
    UsageError
        If the margin is not a number above 1.
    InputError
        If there is no golden slice.
    BundleError
        If the model is not FP32, has a value that is not finite on a real slice, or leaves no
        convolution for FP16.
    ParityError
        If the FP16 model gives a value that is not finite, or differs too much from FP32.
    """
    if not 1 < margin < HALF_MAX:
        raise UsageError(f"a margin of {margin:g} was asked for", accepted="a number above 1")
    if not len(golden):
        raise InputError("there is no golden slice", remedy="use a bundle with golden slices")
    floats = read_float_graph(fp32)
    ranges, sums = _look(fp32, floats, material, threads, progress)
    largest = {name: found.largest for name, found in ranges.items()}
    roundings = tuple(r for node in floats.nodes for r in round_constants(node, floats, largest))
    why = plan_types(floats, largest, sums, roundings, limit=HALF_MAX / margin)
    _refuse_all_float(floats, why)
    model = convert(fp32, floats, why)
    check_typed(model)
    error = _compare(fp32, model, golden, threads)
    labels = {key(node): label(node) for node in floats.nodes}
    most, node = _largest_half(floats, why, largest, sums)
    certificate = HalfCertificate(
        slices=len(material),
        patients=len(material.patients),
        images_sha256=material.images_sha256,
        largest=most,
        node=node,
        margin=HALF_MAX / most,
        float32_nodes=tuple(labels[each] for each in why),
        reference_slices=len(golden),
        reference_error=error,
        tools={name: metadata.version(name) for name in ("numpy", "onnx", "onnxruntime")},
    )
    return HalfModel(
        model=model,
        certificate=certificate,
        float32={labels[each]: reason for each, reason in why.items()},
        ranges=ranges,
        sums={labels[each]: value for each, value in sums.items()},
        roundings=roundings,
    )


def _look(
    fp32: ModelProto,
    floats: FloatGraph,
    material: Material,
    threads: int,
    progress: Callable[[int], None] | None,
) -> tuple[dict[str, Range], dict[str, float]]:
    """Measure the range of every value and partial sum on the real slices."""
    instrumented, bounds = with_partial_sums(fp32, floats)
    found = measure_ranges(
        instrumented,
        material.batches(_BATCH),
        tensors=floats.activations | set(bounds.values()),
        threads=threads,
        progress=progress,
    )
    sums = {node: found.pop(bound).largest for node, bound in bounds.items()}
    return found, sums


def _refuse_all_float(floats: FloatGraph, why: Mapping[str, str]) -> None:
    if any(key(node) not in why for node in floats.nodes):
        return
    reasons = [f"{label(node)} {why[key(node)]}" for node in floats.nodes]
    raise BundleError(
        f"no convolution of the model can be FP16: {'; '.join(reasons[:3])}",
        accepted="a model whose values stay well below 65504",
        remedy="train it again with normalised activations, or use the FP32 model",
    )


def _largest_half(
    floats: FloatGraph,
    why: Mapping[str, str],
    largest: Mapping[str, float],
    sums: Mapping[str, float],
) -> tuple[float, str]:
    """Return the largest value or partial sum of an FP16 node, and the node."""
    return max(
        (max(sums.get(key(node), 0.0), *(largest[name] for name in made)), label(node))
        for node in floats.nodes
        if key(node) not in why and (made := floats.float_outputs(node))
    )


def _compare(fp32: ModelProto, half: ModelProto, golden: NDArray[np.uint8], threads: int) -> float:
    """Return how far FP16 arithmetic is from FP32 on the golden slices."""
    wanted = _run(fp32, golden, threads)
    worst = 0.0
    for what, outputs in (
        ("ONNX Runtime", _run(half, golden, threads)),
        ("FP16 arithmetic (onnx.reference)", compute_reference(half, golden)),
    ):
        worst = float(np.abs(outputs - wanted).max())
        if not worst <= MAX_ERROR:
            raise ParityError(
                f"the FP16 model differs from FP32 by {worst:.3g} with {what}",
                accepted=f"at most {MAX_ERROR:g} on every golden slice",
                remedy="use the FP32 or the INT8 model, or train again with smaller weights",
            )
    return worst


def _run(model: ModelProto, images: NDArray[np.uint8], threads: int) -> NDArray[np.float32]:
    """Compute a model's one output with ONNX Runtime, slice by slice."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (feed,) = (value.name for value in session.get_inputs())
        found = [session.run(None, {feed: image[np.newaxis]})[0] for image in images]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BackendError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run the model: {error}"
        ) from error
    outputs: NDArray[np.float32] = np.concatenate(found)
    return outputs
