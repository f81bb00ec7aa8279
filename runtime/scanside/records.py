"""What a run reports: the versioned schema of its records, one JSON object a line."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec
from msgspec import Struct

from scanside.contract import Precision  # noqa: TC001 - msgspec reads annotations

__all__ = [
    "DICOM",
    "FOLDERS",
    "MASKS",
    "NIFTI",
    "OVERLAYS",
    "RESULTS",
    "RESULT_SCHEMA",
    "BoundingBox",
    "Record",
    "RunResult",
    "SliceResult",
    "Status",
    "StudyResult",
    "to_json_line",
]

RESULT_SCHEMA: Final = "scanside.result/1"

RESULTS: Final = "results.jsonl"
MASKS: Final = "masks"
OVERLAYS: Final = "overlays"
DICOM: Final = "dicom"
NIFTI: Final = "nifti"
FOLDERS: Final = (MASKS, OVERLAYS, DICOM, NIFTI)
"""What a run's output folder holds; a later run that finds them takes none for a slice."""

Status = Literal["ok", "indeterminate", "rejected"]


class _Record(Struct, frozen=True, tag_field="type"):
    """Base of every record: one JSON object a line, with `schema` and `type`."""

    SCHEMA: ClassVar[str] = RESULT_SCHEMA


class BoundingBox(Struct, frozen=True, kw_only=True):
    """The smallest box around the mask on the source grid, in pixels, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int


class SliceResult(_Record, tag="slice", frozen=True, kw_only=True):
    """What was found in one slice.

    Attributes
    ----------
    source
        The file, as it was given or found.
    index
        The slice's number inside the file (the page of a multi-page TIFF), from 0.
    status, reason
        ``ok``, ``indeterminate`` or ``rejected``, and why where it is not ``ok``.
    tumor_probability
        The classifier's output; none where it is not finite or there is none.
    tumor
        Whether the algorithm found a region; none where that is not known.
    segmented
        Whether the slice went to the segmenter.
    area_px, area_mm2
        Area of the mask on the source grid; in square millimetres where the spacing is known.
    components
        Number of connected regions in the mask (8-connected).
    box
        Bounding box of the mask on the source grid.
    filled
        The sequences that FLAIR stands in for: by ``--fill-missing``, or because their channel
        equals FLAIR's in every pixel.
    mask, overlay
        Paths of the pictures that were written, relative to the output folder.
    backend, precision
        What computed the outputs.
    timings_ms
        Milliseconds by stage: decode, preprocess, classify, segment, postprocess.
    """

    schema: Literal["scanside.result/1"] = RESULT_SCHEMA
    source: str
    index: int
    status: Status
    reason: str | None = None
    tumor_probability: float | None = None
    tumor: bool | None = None
    segmented: bool = False
    area_px: int | None = None
    area_mm2: float | None = None
    components: int | None = None
    box: BoundingBox | None = None
    filled: tuple[str, ...] = ()
    mask: str | None = None
    overlay: str | None = None
    backend: str | None = None
    precision: Precision | None = None
    timings_ms: dict[str, float] = {}


class StudyResult(_Record, tag="study", frozen=True, kw_only=True):
    """The slices of one folder, of one multi-page file, or of one DICOM or NIfTI study, together.

    Attributes
    ----------
    source
        The folder or file.
    slices, positive, indeterminate, rejected, segmented
        Numbers of slices.
    area_px
        Sum of the slices' mask areas.
    volume_ml
        Volume of the masks in millilitres, where the spacing is known.
    diameter_mm
        Largest in-plane extent of any slice's mask, where the spacing is known.
    centroid_mm
        Centroid of the masks in patient coordinates (x to the left, y to posterior, z to the
        head); of DICOM and NIfTI studies with a region.
    filled
        The sequences that FLAIR stands in for, of DICOM and NIfTI studies.
    notes
        What else must be known about how a DICOM or NIfTI study was made.
    written
        Paths of the DICOM and NIfTI files that were written, relative to the output folder.
    dropped
        Attributes of the DICOM input that were not valid and are not in these files.
    """

    schema: Literal["scanside.result/1"] = RESULT_SCHEMA
    source: str
    slices: int
    positive: int
    indeterminate: int
    rejected: int
    segmented: int
    area_px: int
    volume_ml: float | None = None
    diameter_mm: float | None = None
    centroid_mm: tuple[float, float, float] | None = None
    filled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class RunResult(_Record, tag="run", frozen=True, kw_only=True):
    """A whole run: the last record.

    Attributes
    ----------
    slices, positive, negative, indeterminate, rejected, segmented
        Numbers of slices. ``positive + negative + indeterminate + rejected == slices``.
    skip_rate
        Share of the slices classified that the segmenter did not see.
    indeterminate_rate
        Share of the slices classified that are indeterminate.
    left_out
        Files of the given folders that were not read, by reason.
    seconds, slices_per_second
        Wall time from the first file to the last result, models loaded.
    interrupted
        Whether the run was stopped before its end.
    bundle, bundle_sha256
        Name and version of the bundle, and the hash of its manifest.
    backend, precision, fallback
        What computed the outputs; `fallback` says why ``auto`` took no better backend.
    """

    schema: Literal["scanside.result/1"] = RESULT_SCHEMA
    slices: int
    positive: int
    negative: int
    indeterminate: int
    rejected: int
    segmented: int
    skip_rate: float | None
    indeterminate_rate: float | None
    left_out: dict[str, int]
    seconds: float
    slices_per_second: float | None
    interrupted: bool
    bundle: str
    bundle_sha256: str
    backend: str
    precision: Precision
    fallback: str | None = None


Record = SliceResult | StudyResult | RunResult

_ENCODER: Final = msgspec.json.Encoder()


def to_json_line(record: Record) -> bytes:
    """Encode a record as one line of JSON, with the newline."""
    return _ENCODER.encode(record) + b"\n"
