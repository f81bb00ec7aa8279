"""What a manifest says of how its files were made and checked."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from scanside.fields import Part, Positive, Probability, Sha256

__all__ = ["Calibration", "Guard", "HalfCertificate", "Parity"]


class Parity(Part, frozen=True, kw_only=True):
    """How far a model file's outputs lie from those of the model it was made from.

    Attributes
    ----------
    reference
        What it was compared with, for instance ``keras 3.15.1``.
    slices
        The number of slices compared.
    data
        What the slices were, for instance ``LGG validation patients``.
    max_abs_error
        The largest absolute difference of any output value.
    same_decision
        The share of slices with the same side of the gate (classifier) or, for the segmenter,
        with a mask Dice of at least 0.999.
    """

    reference: str
    slices: Positive
    data: str
    max_abs_error: Annotated[float, Meta(ge=0)]
    same_decision: Probability


class Calibration(Part, frozen=True, kw_only=True):
    """Where the scales of an INT8 file come from.

    Attributes
    ----------
    method
        How a range becomes a scale, for instance ``percentile 99.99``.
    slices, patients
        How many were looked at.
    images_sha256
        Hash of the prepared slices in their order.
    split_sha256
        Hash of the split whose training patients they are; none where no split was given.
    float_nodes
        Nodes that the accuracy guard rolled back to float.
    tools
        Versions of what computed it.
    """

    method: str
    slices: Positive
    patients: Positive
    images_sha256: Sha256
    split_sha256: Sha256 | None = None
    float_nodes: tuple[str, ...] = ()
    tools: dict[str, str]


class HalfCertificate(Part, frozen=True, kw_only=True):
    """Why an FP16 file does not overflow.

    Attributes
    ----------
    slices, patients, images_sha256
        The real slices on which every intermediate value was looked at.
    largest, node
        The largest absolute value in FP16, and the node that gives it.
    margin
        65504, FP16's largest finite number, divided by `largest`.
    float32_nodes
        Nodes that stay in float32.
    reference_slices, reference_error
        Golden slices computed in real FP16 arithmetic, and the largest absolute difference of an
        output from FP32's.
    tools
        Versions of what computed it.
    """

    slices: Positive
    patients: Positive
    images_sha256: Sha256
    largest: Annotated[float, Meta(ge=0)]
    node: str
    margin: Annotated[float, Meta(gt=1)]
    float32_nodes: tuple[str, ...]
    reference_slices: Positive
    reference_error: Annotated[float, Meta(ge=0)]
    tools: dict[str, str]


class Guard(Part, frozen=True, kw_only=True):
    """What a precision costs in accuracy, measured on validation patients on the CPU backend.

    Attributes
    ----------
    data, dataset_sha256, patients, slices
        What it was measured on.
    backend
        What computed it: name and version.
    limits
        Largest drop or smallest agreement by figure.
    measured
        The figures themselves, by the names in `limits`.
    stated
        The same of INT8 in the arithmetic that the files state, which a GPU computes: activations
        at the levels of their QuantizeLinear, where the CPU backends take finer ones. None for
        other precisions, and where it was not measured.
    """

    data: str
    dataset_sha256: Sha256
    patients: Positive
    slices: Positive
    backend: str
    limits: dict[str, float]
    measured: dict[str, float]
    stated: dict[str, float] | None = None
