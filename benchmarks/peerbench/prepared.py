"""What is asked of the preparation, and what it made."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

__all__ = ["Prepared", "Request"]


class Request(Struct, frozen=True, kw_only=True):
    """What to prepare; see the options of `peers.py`."""

    data: str
    folder: str
    bundle: str | None
    split: str | None
    slices: int


class Prepared(Struct, frozen=True, kw_only=True):
    """What was prepared.

    Attributes
    ----------
    key
        Hash of all that it depends on.
    files
        The slices of the run: whole patients in order.
    everything
        All slices of the dataset.
    segmented, skipped
        Which of `files` the float classifier sends to the segmenter, and which not.
    gate, mask
        The thresholds.
    bundle, float_bundle
        Bundles with INT8 and with FP32; one and the same where it holds both.
    models
        By peer, the files of classifier and segmenter.
    macs
        Multiply-accumulates of one slice, by model.
    architectures, keras_error
        What Keras built, and the largest difference of its outputs from ONNX Runtime's, by model.
    guard
        By INT8 implementation, the accuracy guard against the float models.
    facts
        Versions, the bundle, the data.
    """

    key: str
    files: tuple[str, ...]
    everything: tuple[str, ...]
    segmented: tuple[int, ...]
    skipped: tuple[int, ...]
    gate: float
    mask: float
    bundle: str
    float_bundle: str
    models: dict[str, tuple[str, str]]
    macs: dict[str, int]
    architectures: dict[str, dict[str, Any]]
    keras_error: dict[str, float]
    guard: dict[str, dict[str, Any]]
    facts: dict[str, Any]
