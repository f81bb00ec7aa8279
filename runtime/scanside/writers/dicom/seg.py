"""DICOM Segmentation: the region that the algorithm outlined, on the frames of the FLAIR series.

The parts of the standard that need care (segment description, algorithm identification) are
highdicom's. Its Segmentation class is not used: it reads 22 MB of tables before the first object,
half a second and 100 MB, and dates objects with the present time. Tests hold the object to be what
that class makes of the same masks, and its pixels to what highdicom and dcmqi read.

References
----------
PS3.3 A.51 (Segmentation IOD), C.8.20.2 (Segmentation Image), C.7.6.16 (functional groups).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage
from pydicom.valuerep import format_number_as_ds

from scanside.study.identity import MANUFACTURER
from scanside.writers.dicom import codes
from scanside.writers.dicom.objects import (
    RESEARCH,
    Series,
    new_object,
    referenced_series,
    sop_reference,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside.study.grid import Grid
    from scanside.study.model import Source, Study
    from scanside.writers.dicom.context import Algorithm
    from scanside.writers.dicom.objects import Common

__all__ = ["LABEL", "SERIES", "TRACKING_ID", "segmentation"]

LABEL: Final = "FLAIR abnormality"
"""What the segment is: the training masks outline FLAIR abnormality."""

TRACKING_ID: Final = f"{MANUFACTURER}: {LABEL}"

SERIES: Final = Series("seg", SegmentationStorage, "SEG", 9101, f"{LABEL} ({RESEARCH.lower()})")

_COLOR: Final = (83.1, 5.9, 84.5)
"""CIELab of the amber that overlays are drawn in: red 255, green 200, blue 0."""

_SEGMENT, _REFERENCED_SEGMENT = 0x0062000A, 0x0062000B
_PLANE_POSITION, _IMAGE_POSITION = 0x00209113, 0x00200032
"""Tags that dimension indices point at."""


def segmentation(
    common: Common, study: Study, mask: NDArray[np.bool_], tracking_uid: str, remarks: str
) -> Dataset:
    """Make a segmentation.

    Every frame of the FLAIR series has one, with the same geometry, empty or not: whoever reads
    the object gets the mask on the whole grid.

    Parameters
    ----------
    common
        What all objects of the result share.
    study
        The study.
    mask
        bool ``[S, H, W]`` on the FLAIR's own grid, ``study.flair.grid``.
    tracking_uid
        Unique identifier of the region.
    remarks
        What a reader must know about how the study was made; may be empty.
    """
    made = new_object(common, SERIES)
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.ContentLabel = "SEGMENTATION"
    made.ContentDescription = f"{LABEL}, {RESEARCH.lower()}"
    made.ContentCreatorName = ""
    made.SegmentationType = "BINARY"
    made.SegmentsOverlap = "NO"
    made.LossyImageCompression = "00"
    made.SegmentSequence = [_segment(common.algorithm, tracking_uid, remarks)]
    sources = [dataset for source in study.sources for dataset in source.datasets]
    made.ReferencedSeriesSequence = referenced_series(sources, "ReferencedInstanceSequence")
    _add_frame_of_reference(made, common, study.flair)
    _add_dimensions(made, common)
    _add_functional_groups(made, study.flair)
    _add_pixels(made, mask)
    return made


def _segment(algorithm: Algorithm, tracking_uid: str, remarks: str) -> Dataset:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    made: Dataset = SegmentDescription(
        segment_number=1,
        segment_label=LABEL,
        segmented_property_category=codes.ABNORMAL_STRUCTURE,
        segmented_property_type=codes.NEOPLASM,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm.bundle,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=algorithm.bundle_version,
            source=MANUFACTURER,
            parameters=_by_name(algorithm.parameters),
        ),
        tracking_id=TRACKING_ID,
        tracking_uid=tracking_uid,
        anatomic_regions=[codes.BRAIN],
        display_color=CIELabColor(*_COLOR),
    )
    made.SegmentDescription = f"Outlined by an algorithm; {RESEARCH.lower()}. {remarks}".strip()
    return made


def _by_name(parameters: Sequence[str]) -> dict[str, str]:
    return dict(parameter.split("=", maxsplit=1) for parameter in parameters)


def _add_frame_of_reference(made: Dataset, common: Common, flair: Source) -> None:
    # Where the input has none, the object has one of its own: it lies in space all the same.
    uid = flair.grid.frame_of_reference_uid or common.identity.uid("frame of reference")
    made.FrameOfReferenceUID = uid
    made.PositionReferenceIndicator = ""


def _add_dimensions(made: Dataset, common: Common) -> None:
    uid = common.identity.uid("dimension organization")
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    made.DimensionOrganizationSequence = [organization]
    made.DimensionOrganizationType = "3D"
    indices = []
    for group, attribute, label in (
        (_SEGMENT, _REFERENCED_SEGMENT, "Referenced Segment Number"),
        (_PLANE_POSITION, _IMAGE_POSITION, "Image Position Patient"),
    ):
        index = Dataset()
        index.DimensionOrganizationUID = uid
        index.DimensionIndexPointer = attribute
        index.FunctionalGroupPointer = group
        index.DimensionDescriptionLabel = label
        indices.append(index)
    made.DimensionIndexSequence = indices


def _add_functional_groups(made: Dataset, flair: Source) -> None:
    made.SharedFunctionalGroupsSequence = [_shared(flair.grid)]
    made.PerFrameFunctionalGroupsSequence = [
        _frame(flair, number) for number in range(flair.grid.shape[0])
    ]


def _shared(grid: Grid) -> Dataset:
    column, row, between = (float(step) for step in np.linalg.norm(grid.affine[:3, :3], axis=0))
    measures = Dataset()
    measures.PixelSpacing = [format_number_as_ds(row), format_number_as_ds(column)]
    # A voxel of the mask is as thick as slices are apart, whatever the acquisition's slices are:
    # what reads its volume off the object finds the volume that the report states.
    measures.SliceThickness = measures.SpacingBetweenSlices = format_number_as_ds(between)
    orientation = Dataset()
    orientation.ImageOrientationPatient = [format_number_as_ds(v) for v in grid.orientation]
    segment = Dataset()
    segment.ReferencedSegmentNumber = 1
    made = Dataset()
    made.PixelMeasuresSequence = [measures]
    made.PlaneOrientationSequence = [orientation]
    made.SegmentIdentificationSequence = [segment]
    return made


def _frame(flair: Source, number: int) -> Dataset:
    frame = flair.frames[number]
    source = sop_reference(flair.datasets[frame.dataset], frame.frame)
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_FOR_PROCESSING)]
    source.SpatialLocationsPreserved = "YES"
    derivation = Dataset()
    derivation.SourceImageSequence = [source]
    derivation.DerivationCodeSequence = [codes.item(codes.SEGMENTATION)]
    content = Dataset()
    content.DimensionIndexValues = [1, number + 1]
    position = Dataset()
    position.ImagePositionPatient = [
        format_number_as_ds(value) for value in flair.grid.position(number)
    ]
    made = Dataset()
    made.DerivationImageSequence = [derivation]
    made.FrameContentSequence = [content]
    made.PlanePositionSequence = [position]
    return made


def _add_pixels(made: Dataset, mask: NDArray[np.bool_]) -> None:
    frames, rows, columns = mask.shape
    made.NumberOfFrames = frames
    made.Rows, made.Columns = rows, columns
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    made.PixelRepresentation = 0
    # One run of bits over all frames, the first pixel in the lowest bit (PS3.5 8.1.1).
    packed = np.packbits(mask, axis=None, bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
