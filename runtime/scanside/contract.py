"""What a bundle declares: the versioned schema of ``manifest.json``.

Every structure is a frozen `msgspec.Struct`. Unknown and missing fields are errors, and an
error names the path of the field (``$.models.classifier.int8.sha256``).
"""

from __future__ import annotations

import contextlib
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from scanside.evidence import (
    Calibration,
    Guard,
    HalfCertificate,
    Parity,
)
from scanside.fields import FileName, Part, Positive, Probability, Sha256

__all__ = [
    "BUNDLE_SCHEMA",
    "PRECISIONS",
    "ROLES",
    "AuxiliaryFile",
    "Batch",
    "Calibration",
    "Golden",
    "Guard",
    "HalfCertificate",
    "InputContract",
    "License",
    "Manifest",
    "ModelFile",
    "Parity",
    "Precision",
    "Provenance",
    "Role",
    "Thresholds",
    "Tolerance",
    "field_path",
    "manifest_error",
]

BUNDLE_SCHEMA: Final = "scanside.bundle/1"

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8")

Role = Literal["classifier", "segmenter"]
ROLES: Final[tuple[Role, ...]] = ("classifier", "segmenter")


class InputContract(Part, frozen=True, kw_only=True):
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


class Batch(Part, frozen=True, kw_only=True):
    """How many slices at once an engine of these models is built for.

    A manifest that does not name it means these values.

    Attributes
    ----------
    min
        One: on the latency path each slice goes by itself.
    opt
        What the engine is tuned for.
    max
        The most; a backend computes more in parts.
    """

    min: Literal[1] = 1
    opt: Positive = 1
    max: Positive = 8

    def __post_init__(self) -> None:
        if self.opt > self.max:
            raise ValueError(f"opt ({self.opt}) is above max ({self.max})")

    @property
    def profile(self) -> tuple[int, int, int]:
        """The three of an optimisation profile, in its order."""
        return self.min, self.opt, self.max


class Thresholds(Part, frozen=True, kw_only=True):
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
    mask: Annotated[float, Meta(gt=0.0, le=1.0)]
    chosen: str

    def __post_init__(self) -> None:
        if self.decision < self.gate:
            raise ValueError(
                f"decision ({self.decision}) is below gate ({self.gate}): a slice between them"
                " would be indeterminate without having been segmented"
            )


class ModelFile(Part, frozen=True, kw_only=True):
    """One ONNX file of a bundle."""

    file: FileName
    sha256: Sha256
    size: Positive
    opset: Positive
    parity: Parity
    calibration: Calibration | None = None
    half: HalfCertificate | None = None


class Tolerance(Part, frozen=True, kw_only=True):
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


class Golden(Part, frozen=True, kw_only=True):
    """The file of golden slices and the tolerances of `verify`, by precision."""

    file: FileName
    sha256: Sha256
    size: Positive
    tolerances: dict[Precision, Tolerance]


class AuxiliaryFile(Part, frozen=True, kw_only=True):
    """A file of the bundle that is no model: the model card, the licence of the weights."""

    file: FileName
    sha256: Sha256
    size: Positive


class License(Part, frozen=True, kw_only=True):
    """The licence of the weights, apart from the code's."""

    name: str
    notice: str
    text: AuxiliaryFile


class Provenance(Part, frozen=True, kw_only=True):
    """Where the bundle comes from."""

    command: str
    commit: str
    created: str
    dataset: str
    dataset_sha256: Sha256 | None
    versions: dict[str, str]


class Manifest(Part, frozen=True, kw_only=True):
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
    guards: dict[Precision, Guard] = msgspec.field(default_factory=dict)
    batch: Batch = Batch()

    def __post_init__(self) -> None:
        for role in ROLES:
            _check_role(role, self.models.get(role), self.default_precision)
        if set(self.models["classifier"]) != set(self.models["segmenter"]):
            raise ValueError("classifier and segmenter are not there in the same precisions")
        if missing := set(self.models["classifier"]) - set(self.golden.tolerances):
            raise ValueError(f"golden.tolerances has none for {', '.join(sorted(missing))}")
        names = [entry.file for entry in self.files().values()]
        if len(set(names)) != len(names):
            raise ValueError(f"one file has two roles: {sorted(names)}")

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


def _check_role(role: Role, files: dict[Precision, ModelFile] | None, default: Precision) -> None:
    if not files:
        raise ValueError(f"models has no {role}")
    if default not in files:
        raise ValueError(f"default_precision {default} has no {role}")
    if "int8" in files and files["int8"].calibration is None:
        raise ValueError(f"models.{role}.int8 does not say how it was calibrated")


def manifest_error(raw: bytes, error: msgspec.ValidationError) -> tuple[str, str]:
    """Say what is wrong in a manifest, and the path of the field with every name in it.

    msgspec leaves the keys of a mapping out (``$.models[...][...].size``): they are found by
    trying each model by itself.
    """
    what, path = field_path(error)
    if not path.startswith("$.models[...][...]"):
        return what, path
    with contextlib.suppress(msgspec.DecodeError):  # msgspec may not have come to the damage yet
        for role, by_precision in msgspec.json.decode(raw)["models"].items():
            for precision, entry in by_precision.items():
                try:
                    msgspec.convert(entry, ModelFile)
                except msgspec.ValidationError as inner:  # noqa: PERF203 - six models at most
                    what, inside = field_path(inner)
                    return what, f"$.models.{role}.{precision}{inside.removeprefix('$')}"
    return what, path


def field_path(error: msgspec.ValidationError) -> tuple[str, str]:
    """Split msgspec's message into what is wrong and the path of the field."""
    message = str(error)
    found = re.search(r" - at `(?P<path>[^`]+)`$", message)
    return (message[: found.start()], found["path"]) if found else (message, "$")
