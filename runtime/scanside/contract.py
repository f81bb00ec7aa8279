"""What a bundle declares and what a run reports: the versioned schemas of scanside.

Every structure is a frozen `msgspec.Struct`. Unknown and missing fields are errors, and an
error names the path of the field (``$.models.classifier.int8.sha256``).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "BUNDLE_SCHEMA",
    "PRECISIONS",
    "RESULT_SCHEMA",
    "ROLES",
    "AuxiliaryFile",
    "BoundingBox",
    "Calibration",
    "Golden",
    "InputContract",
    "License",
    "Manifest",
    "ModelFile",
    "Parity",
    "Precision",
    "Provenance",
    "Record",
    "Role",
    "RunResult",
    "SliceResult",
    "Status",
    "StudyResult",
    "Thresholds",
    "Tolerance",
    "field_path",
    "to_json_line",
]

BUNDLE_SCHEMA: Final = "scanside.bundle/1"
RESULT_SCHEMA: Final = "scanside.result/1"

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8")

Role = Literal["classifier", "segmenter"]
ROLES: Final[tuple[Role, ...]] = ("classifier", "segmenter")

Status = Literal["ok", "indeterminate", "rejected"]

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
"""A file of the bundle: a bare name, so that no path can leave the folder."""


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every structure here: immutable and strict (`kw_only` is not inherited)."""


# --- the manifest of a bundle -------------------------------------------------------------


class InputContract(_Part, frozen=True, kw_only=True):
    """What the models take: uint8, ``[N, 256, 256, 3]``, scaled inside the graph."""

    name: Literal["image"] = "image"
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    shape: tuple[Literal[256], Literal[256], Literal[3]] = (256, 256, 3)
    channels: tuple[Literal["pre-contrast"], Literal["FLAIR"], Literal["post-contrast"]] = (
        "pre-contrast",
        "FLAIR",
        "post-contrast",
    )
    scaling: Literal["(x - 128) / 128 in the graph"] = "(x - 128) / 128 in the graph"


class Thresholds(_Part, frozen=True, kw_only=True):
    """The probabilities at which the pipeline decides.

    Attributes
    ----------
    gate
        A slice with ``tumor_probability >= gate`` goes to the segmenter.
    decision
        With an empty mask, a slice with ``tumor_probability >= decision`` is indeterminate.
    mask
        A pixel with ``mask_probability >= mask`` belongs to the mask.
    chosen
        How the three were chosen, in words with figures.
    """

    gate: Probability
    decision: Probability
    mask: Probability
    chosen: str

    def __post_init__(self) -> None:
        if self.decision < self.gate:
            raise ValueError(
                f"decision ({self.decision}) is below gate ({self.gate}): a slice between them"
                " would be indeterminate without having been segmented"
            )


class Parity(_Part, frozen=True, kw_only=True):
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


class Calibration(_Part, frozen=True, kw_only=True):
    """Where the scales of an INT8 file come from."""

    method: str
    slices: Positive
    patients: Positive
    images_sha256: Sha256
    tools: dict[str, str]


class ModelFile(_Part, frozen=True, kw_only=True):
    """One ONNX file of a bundle."""

    file: FileName
    sha256: Sha256
    size: Positive
    opset: Positive
    parity: Parity
    calibration: Calibration | None = None


class Tolerance(_Part, frozen=True, kw_only=True):
    """How far outputs may lie from the golden ones on any backend, in one precision.

    Attributes
    ----------
    tumor_probability
        Largest absolute difference of a slice's probability.
    mask_probability
        Largest absolute difference of the mask's probability, at the given share of pixels.
    mask_pixels
        The share of a slice's pixels that must be within `mask_probability`.
    mask_dice
        Smallest Dice of a slice's mask against the golden mask, both cut at the threshold.
    """

    tumor_probability: Annotated[float, Meta(gt=0, le=1)]
    mask_probability: Annotated[float, Meta(gt=0, le=1)]
    mask_pixels: Annotated[float, Meta(gt=0, le=1)]
    mask_dice: Annotated[float, Meta(gt=0, le=1)]


class Golden(_Part, frozen=True, kw_only=True):
    """The file of golden slices and the tolerances of `verify`, by precision."""

    file: FileName
    sha256: Sha256
    size: Positive
    tolerances: dict[Precision, Tolerance]


class AuxiliaryFile(_Part, frozen=True, kw_only=True):
    """A file of the bundle that is no model: the model card, the licence of the weights."""

    file: FileName
    sha256: Sha256
    size: Positive


class License(_Part, frozen=True, kw_only=True):
    """The licence of the weights, apart from the code's."""

    name: str
    notice: str
    text: AuxiliaryFile


class Provenance(_Part, frozen=True, kw_only=True):
    """Where the bundle comes from."""

    command: str
    commit: str
    created: str
    dataset: str
    dataset_sha256: Sha256 | None
    versions: dict[str, str]


class Manifest(_Part, frozen=True, kw_only=True):
    """``manifest.json`` of a bundle."""

    schema: Literal["scanside.bundle/1"] = BUNDLE_SCHEMA
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
    version: str
    description: str
    input: InputContract
    thresholds: Thresholds
    default_precision: Precision
    models: dict[Role, dict[Precision, ModelFile]]
    golden: Golden
    card: AuxiliaryFile
    license: License
    provenance: Provenance
    metrics: dict[str, Any]

    def __post_init__(self) -> None:
        for role in ROLES:
            files = self.models.get(role)
            if not files:
                raise ValueError(f"models has no {role}")
            if self.default_precision not in files:
                raise ValueError(f"default_precision {self.default_precision} has no {role}")
        if set(self.models["classifier"]) != set(self.models["segmenter"]):
            raise ValueError("classifier and segmenter are not there in the same precisions")
        if missing := set(self.models["classifier"]) - set(self.golden.tolerances):
            raise ValueError(f"golden.tolerances has none for {', '.join(sorted(missing))}")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that the bundle holds, in the order of `PRECISIONS`."""
        return tuple(p for p in PRECISIONS if p in self.models["classifier"])

    def files(self) -> dict[str, AuxiliaryFile | Golden | ModelFile]:
        """Return every file of the bundle by the path of its field (``$.golden``)."""
        found: dict[str, AuxiliaryFile | Golden | ModelFile] = {
            "$.golden": self.golden,
            "$.card": self.card,
            "$.license.text": self.license.text,
        }
        for role, by_precision in self.models.items():
            for precision, model in by_precision.items():
                found[f"$.models.{role}.{precision}"] = model
        return found


# --- the records of a run -----------------------------------------------------------------


class _Record(Struct, frozen=True, tag_field="type"):
    """Base of every record: one JSON object a line, with `schema` and `type`."""

    SCHEMA: ClassVar[str] = RESULT_SCHEMA


class BoundingBox(_Part, frozen=True, kw_only=True):
    """The smallest box around the mask on the source grid, in pixels, ends excluded."""

    top: Count
    left: Count
    bottom: Count
    right: Count


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
        The sequences that FLAIR stands in for (``--fill-missing``).
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
    """The slices of one folder, or of one multi-page file, together.

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


def field_path(error: msgspec.ValidationError) -> tuple[str, str]:
    """Split msgspec's message into what is wrong and the path of the field."""
    message = str(error)
    found = re.search(r" - at `(?P<path>[^`]+)`$", message)
    return (message[: found.start()], found["path"]) if found else (message, "$")
