"""Keras against ONNX Runtime: the evidence that the export computes what was trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside.errors import ExtraNotInstalledError, ParityError
from scanside.evidence import Parity
from scanside.verification import dice
from scanside_export.graphspec import INPUT_NAME, OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from scanside.contract import Role, Thresholds

__all__ = ["SAME_MASK_DICE", "TOLERANCES", "Comparison", "check_parity", "compare", "run_keras"]

TOLERANCES: Final[dict[Role, float]] = {"classifier": 1e-4, "segmenter": 1e-3}
"""Largest absolute difference of any output value, by role. Both sides compute in float32 and
sum in different orders: 1e-5 (classifier) and 1e-4 (mask, over 65,536 pixels a slice) are seen
with trained weights. Ten times that is still a hundredth of what a wrong channel order, padding
or resize rule does.

Within the tolerance a decision can differ only where the reference lies on the threshold
itself, so that the values alone decide; the share of equal decisions is reported."""

SAME_MASK_DICE: Final = 0.999
"""From this Dice on, two masks count as the same decision."""

_KERAS_BATCH: Final = 8


class Comparison(NamedTuple):
    """How far two sets of outputs lie apart.

    Attributes
    ----------
    max_abs_error
        The largest absolute difference of any value; infinite where one is not finite.
    same_decision
        Share of the slices on the same side of the gate, or with masks of the same pixels (a
        Dice of at least `SAME_MASK_DICE`).
    worst
        Index of the slice with the largest difference.
    """

    max_abs_error: float
    same_decision: float
    worst: int


def compare(
    role: Role,
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    thresholds: Thresholds,
) -> Comparison:
    """Compare the outputs of two models on the same slices.

    Parameters
    ----------
    role
        ``classifier`` or ``segmenter``.
    reference, candidate
        float32 ``[N, 1]`` or ``[N, 256, 256]``.
    thresholds
        Where decisions are made.

    Raises
    ------
    ParityError
        If the shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ParityError(
            f"the {role}'s output has the shape {list(candidate.shape)}",
            accepted=f"{list(reference.shape)}, as in Keras",
        )
    errors = np.abs(reference.astype(np.float64) - candidate).reshape(len(reference), -1)
    errors[~np.isfinite(errors)] = math.inf
    by_slice = errors.max(axis=1)
    same = [
        _same_decision(role, one, other, thresholds)
        for one, other in zip(reference, candidate, strict=True)
    ]
    return Comparison(float(by_slice.max()), float(np.mean(same)), int(by_slice.argmax()))


def check_parity(
    role: Role,
    model: Any,  # noqa: ANN401 - keras has no types
    content: bytes,
    images: NDArray[np.uint8],
    *,
    thresholds: Thresholds,
    names: Sequence[str],
    data: str,
) -> Parity:
    """Compare a Keras model with its ONNX file on slices, and return the evidence.

    Parameters
    ----------
    role
        ``classifier`` or ``segmenter``.
    model
        The Keras model.
    content
        The ONNX file, run on ONNX Runtime's CPU provider with its default optimisation.
    images
        uint8 ``[N, 256, 256, 3]``.
    thresholds
        Where decisions are made.
    names
        What the slices are called, ``N`` of them.
    data
        What the slices are, for the manifest.

    Raises
    ------
    ParityError
        If any value differs by more than the role's tolerance; the worst slice is named.
    """
    import keras

    run = session(content, role)
    candidate = np.concatenate([run(image[np.newaxis]) for image in images])
    found = compare(role, run_keras(model, images), candidate, thresholds)
    limit = TOLERANCES[role]
    if not found.max_abs_error <= limit:
        raise ParityError(
            f"the exported {role} differs from Keras by {found.max_abs_error:.3g} in"
            f" {names[found.worst]} ({len(images)} slices compared)",
            accepted=f"at most {limit:g}",
            remedy="this is a defect of the export or of its tools: try the versions that"
            " scanside's lock file names",
        )
    return Parity(
        reference=f"keras {keras.__version__}",
        slices=len(images),
        data=data,
        max_abs_error=found.max_abs_error,
        same_decision=found.same_decision,
    )


def run_keras(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ANN401
    """Run a Keras model for inference, a few slices at a time."""
    parts = [
        np.asarray(model(images[at : at + _KERAS_BATCH], training=False), np.float32)
        for at in range(0, len(images), _KERAS_BATCH)
    ]
    return np.concatenate(parts)


def session(content: bytes, role: Role) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a function that runs an ONNX file on ONNX Runtime's CPU provider, as shipped."""
    try:
        import onnxruntime
    except ImportError:
        raise ExtraNotInstalledError(
            "scanside export", package="onnxruntime", extra="train"
        ) from None
    loaded = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = OUTPUTS[role].name

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = loaded.run([name], {INPUT_NAME: images})[0]
        return output

    return run


def _same_decision(
    role: Role, one: NDArray[np.float32], other: NDArray[np.float32], thresholds: Thresholds
) -> bool:
    if role == "classifier":
        return bool((one[0] >= thresholds.gate) == (other[0] >= thresholds.gate))
    return dice(one >= thresholds.mask, other >= thresholds.mask) >= SAME_MASK_DICE
