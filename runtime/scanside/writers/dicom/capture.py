"""Colour Secondary Captures: the region's outline over FLAIR, said to be for research in pixels.

References
----------
PS3.3 A.8.1 (Secondary Capture IOD), C.8.6 (SC modules), C.7.6.1 (General Image).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from pydicom.uid import SecondaryCaptureImageStorage

from scanside.study.identity import MANUFACTURER
from scanside.writers.dicom.objects import RESEARCH, Series, new_object, sop_reference
from scanside.writers.dicom.seg import LABEL
from scanside.writers.pictures import draw_overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from scanside.records import SliceResult
    from scanside.study.grid import Grid
    from scanside.study.model import Findings, FrameReference, Study
    from scanside.writers.dicom.objects import Common

__all__ = ["SERIES", "captures"]

SERIES: Final = Series(
    "capture",
    SecondaryCaptureImageStorage,
    "OT",
    9103,
    f"{LABEL}, overlay ({RESEARCH.lower()})",
)

_LINE: Final = 20
"""Pixels of a line of text."""

_FONT, _SCALE, _INK = cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255)

_DIRECTIONS: Final = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters of the positive and negative x, y and z axes (PS3.3 C.7.6.1.1.1)."""

_OBLIQUE: Final = 0.1
"""Cosine from which an axis is named: about 6 degrees off a right angle."""


def captures(common: Common, findings: Findings) -> Iterator[Dataset]:
    """Make one capture for each slice that was analysed, in the order of the study's grid.

    Parameters
    ----------
    common
        What all objects of the result share.
    findings
        The findings.
    """
    study = findings.study
    frames = _frames(study)
    for number, record in enumerate(findings.records):
        made = new_object(common, SERIES, number + 1)
        made.ImageType = ["DERIVED", "SECONDARY", "OVERLAY"]
        made.BodyPartExamined = "BRAIN"
        made.ConversionType = "WSD"
        made.BurnedInAnnotation = "YES"
        said = _said(record)
        made.ImageComments = f"{RESEARCH}. {said[0].upper()}{said[1:]}."
        made.PatientOrientation = list(_orientation(study.grid))
        made.DerivationDescription = f"Outline of {LABEL} drawn over FLAIR"
        made.LossyImageCompression = "00"
        if frames is not None:
            frame = frames[number]
            source = study.flair.datasets[frame.dataset]
            made.SourceImageSequence = [sop_reference(source, frame.frame)]
        mask = findings.masks[number].astype(np.uint8)
        _add_pixels(made, _picture(study.images[number], mask, _lines(common, study, record)))
        yield made


def _frames(study: Study) -> list[FrameReference] | None:
    """Return the frame that each slice of the study is; none where slices cut across frames."""
    if study.view.axes[0] != 0:
        return None
    frames = list(study.flair.frames)
    return frames[::-1] if study.view.turned[0] else frames


def _said(record: SliceResult) -> str:
    if record.status == "rejected":
        return "not analysed"
    if record.status == "indeterminate":
        return "indeterminate"
    return "the algorithm outlined a region" if record.tumor else "the algorithm found no region"


def _lines(common: Common, study: Study, record: SliceResult) -> list[str]:
    algorithm = common.algorithm
    lines = [
        f"{RESEARCH.upper()}",
        f"{MANUFACTURER} {algorithm.bundle} {algorithm.bundle_version}: {_said(record)}",
    ]
    if study.filled:
        lines.append(f"FLAIR stands in for {' and '.join(study.filled)}")
    return lines


def _picture(
    pixels: NDArray[np.uint8], mask: NDArray[np.uint8], lines: list[str]
) -> NDArray[np.uint8]:
    """Draw the overlay and, in a band of its own below it, the lines; red, green, blue."""
    drawn = draw_overlay(pixels, mask)
    band = np.zeros((_LINE * len(lines) + _LINE // 2, drawn.shape[1], 3), np.uint8)
    for number, line in enumerate(lines):
        cv2.putText(
            band, line, (4, _LINE * (number + 1)), _FONT, _fit(line, band.shape[1]), _INK, 1
        )
    return np.concatenate([drawn, band])[..., ::-1]


def _fit(line: str, width: int) -> float:
    """Return a scale at which a line fits: nothing of it may be cut off."""
    (wide, _), _ = cv2.getTextSize(line, _FONT, _SCALE, 1)
    return min(_SCALE, _SCALE * (width - 8) / wide)


def _orientation(grid: Grid) -> tuple[str, str]:
    """Return PatientOrientation (0020,0020): where rows, then columns, lead to."""
    cosines = grid.orientation
    return _letters(cosines[:3]), _letters(cosines[3:])


def _letters(axis: tuple[float, ...]) -> str:
    strongest = sorted(range(3), key=lambda n: -abs(axis[n]))
    return "".join(
        _DIRECTIONS[n][0 if axis[n] > 0 else 1] for n in strongest if abs(axis[n]) >= _OBLIQUE
    )


def _add_pixels(made: Dataset, picture: NDArray[np.uint8]) -> None:
    made.Rows, made.Columns = picture.shape[:2]
    made.SamplesPerPixel = 3
    made.PhotometricInterpretation = "RGB"
    made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelRepresentation = 0
    content = np.ascontiguousarray(picture).tobytes()
    made.PixelData = content + b"\0" * (len(content) % 2)
