"""What a comparison reports: the versioned schema of its records, one JSON object a line."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Struct

from scanside.contract import Precision  # noqa: TC001 - msgspec reads annotations
from scanside.records import Status  # noqa: TC001 - msgspec reads annotations

__all__ = [
    "COMPARISON_SCHEMA",
    "Area",
    "Change",
    "ComparisonResult",
    "Data",
    "Dice",
    "Difference",
    "Figure",
    "Interval",
    "Labels",
    "Limit",
    "NonFinite",
    "Outcome",
    "Side",
    "SlicePair",
    "Worst",
    "to_json_line",
]

COMPARISON_SCHEMA: Final = "scanside.comparison/1"


class Outcome(Struct, frozen=True, kw_only=True):
    """What one side makes of a slice, as `scanside run` reports it.

    Attributes
    ----------
    status, reason, tumor_probability, tumor, segmented
        As in the record of a slice.
    area_px, area_mm2
        Area of what the segmenter outlines. It runs on both sides where either gate lets the
        slice through, so a side that has not `segmented` may have one; none where it did not
        run or its output is not finite.
    """

    status: Status
    reason: str | None
    tumor_probability: float | None
    tumor: bool | None
    segmented: bool
    area_px: int | None
    area_mm2: float | None = None


class SlicePair(Struct, frozen=True, kw_only=True, tag_field="type", tag="slice"):
    """One slice on both sides.

    Attributes
    ----------
    source, index
        The file, and the slice's number inside it, from 0.
    patient, true_px
        The patient and the pixels of tumour, in a labelled dataset.
    rejected
        Why the slice is not accepted, and neither side has run; none for the others.
    a, b
        The outcomes; none for a rejected slice.
    probability_difference
        ``B - A`` of `tumor_probability`; none where either is not finite.
    mask_dice
        Dice of the two masks; none where one of them is missing.
    gate_flip
        Whether one gate lets the slice through and the other does not.
    decision_flip
        Whether one side has a region (`tumor` true) and the other has none (false).
    status_change
        Whether one side is ``ok`` and the other indeterminate.
    """

    schema: Literal["scanside.comparison/1"] = COMPARISON_SCHEMA
    source: str
    index: int
    patient: str | None = None
    true_px: int | None = None
    rejected: str | None = None
    a: Outcome | None = None
    b: Outcome | None = None
    probability_difference: float | None = None
    mask_dice: float | None = None
    gate_flip: bool = False
    decision_flip: bool = False
    status_change: bool = False


class Side(Struct, frozen=True, kw_only=True):
    """One side: what was asked for, and what computed.

    Attributes
    ----------
    asked
        As it was given.
    bundle, bundle_sha256
        Name and version of the bundle, and the hash of its manifest.
    backend, precision, fallback, computed_by
        What computed; `fallback` says why ``auto`` took no better backend.
    gate, decision, mask
        The bundle's thresholds, with which this side decides.
    """

    asked: str
    bundle: str
    bundle_sha256: str
    backend: str
    precision: Precision
    fallback: str | None
    computed_by: dict[str, str]
    gate: float
    decision: float
    mask: float

    @property
    def label(self) -> str:
        """Bundle, precision and backend in words."""
        return f"{self.bundle} {self.precision} on {self.backend}"


class Data(Struct, frozen=True, kw_only=True):
    """What was compared on.

    Attributes
    ----------
    folder
        As it was given.
    labelled
        Whether it was taken for a labelled dataset.
    dataset_sha256
        Its hash, as that of `scanside data index`.
    slices, compared, rejected
        Numbers of slices; ``compared + rejected == slices``.
    left_out
        Files of the folder that were not read, by reason.
    """

    folder: str
    labelled: bool
    dataset_sha256: str | None
    slices: int
    compared: int
    rejected: int
    left_out: dict[str, int]


class Difference(Struct, frozen=True, kw_only=True):
    """``|B - A|`` of `tumor_probability` over slices; null of no slice."""

    slices: int
    mean: float | None
    p99: float | None
    largest: float | None


class Dice(Struct, frozen=True, kw_only=True):
    """Dice of A's masks against B's on slices where either has `min_px`; null of no slice."""

    min_px: int
    slices: int
    mean: float | None
    p5: float | None
    worst: float | None


class Area(Struct, frozen=True, kw_only=True):
    """Differences of the masks' areas over slices with both masks; null of no slice.

    Attributes
    ----------
    slices
        Slices with both masks.
    mean_px
        Mean of ``B - A``: whether one side outlines more.
    mean_absolute_px, largest_px
        Mean and maximum of ``|B - A|``.
    mean_mm2, mean_absolute_mm2, largest_mm2
        The same in square millimetres, where the spacing is known.
    """

    slices: int
    mean_px: float | None
    mean_absolute_px: float | None
    largest_px: int | None
    mean_mm2: float | None = None
    mean_absolute_mm2: float | None = None
    largest_mm2: float | None = None


class NonFinite(Struct, frozen=True, kw_only=True):
    """Slices with an output that is not a finite number from 0 to 1."""

    tumor_probability: int
    mask_probability: int


class Change(Struct, frozen=True, kw_only=True):
    """A slice that the two sides take differently.

    Attributes
    ----------
    a_probability, b_probability
        `tumor_probability`; none where it is not finite.
    a, b
        What each side makes of it: ``segmented`` or ``skipped``; ``region`` or ``no region``;
        ``ok`` or ``indeterminate``.
    """

    source: str
    index: int
    a_probability: float | None
    b_probability: float | None
    a: str
    b: str


class Worst(Struct, frozen=True, kw_only=True):
    """One of the slices that differ most, and its picture relative to the output folder."""

    source: str
    index: int
    value: float
    a_probability: float | None
    b_probability: float | None
    picture: str


class Interval(Struct, frozen=True, kw_only=True):
    """A figure with its 95 % bootstrap interval over patients; null where not defined."""

    value: float | None
    low: float | None
    high: float | None


class Figure(Struct, frozen=True, kw_only=True):
    """A figure of both sides, and ``B - A`` drawn with the same patients on both."""

    a: Interval
    b: Interval
    difference: Interval


class Labels(Struct, frozen=True, kw_only=True):
    """What the truth says of the two sides.

    Attributes
    ----------
    patients, slices, positive
        What the figures are made of.
    left_out
        Slices without a figure, since an output of either side is not finite.
    resamples
        Of the bootstrap.
    figures
        By name: ``auc``, ``sensitivity``, ``lesion_sensitivity``, ``skipped``,
        ``indeterminate``, ``volume_dice`` (after gating).
    """

    patients: int
    slices: int
    positive: int
    left_out: int
    resamples: int
    figures: dict[str, Figure]


class Limit(Struct, frozen=True, kw_only=True):
    """A limit that was asked for, and what was found."""

    name: str
    passed: bool
    found: str
    wanted: str


class ComparisonResult(Struct, frozen=True, kw_only=True, tag_field="type", tag="comparison"):
    """A whole comparison: the last record."""

    schema: Literal["scanside.comparison/1"] = COMPARISON_SCHEMA
    a: Side
    b: Side
    thresholds_differ: bool
    data: Data
    tumor_probability: Difference
    mask_dice: Dice
    area: Area
    gate_flips: list[Change]
    decision_flips: list[Change]
    status_changes: list[Change]
    changed: int
    """Slices with at least one of the three."""
    a_non_finite: NonFinite
    b_non_finite: NonFinite
    worst_mask_dice: list[Worst]
    worst_probability: list[Worst]
    labels: Labels | None
    limits: list[Limit]
    seconds: float


_ENCODER: Final = msgspec.json.Encoder()


def to_json_line(record: SlicePair | ComparisonResult) -> bytes:
    """Encode a record as one line of JSON, with the newline."""
    return _ENCODER.encode(record) + b"\n"
