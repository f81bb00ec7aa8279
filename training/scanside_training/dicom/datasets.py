"""A planned series as DICOM: classic MR, a file a slice, or enhanced MR, one file.

References
----------
DICOM PS3.3 A.4 (MR Image), A.36.2 (Enhanced MR Image), C.7.6.16 (functional groups).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from scanside_training.dicom.plan import uid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from pydicom import Dataset, FileDataset

    from scanside_training.dicom.plan import SeriesPlan

__all__ = ["classic", "enhanced"]

_CLASSIC: Final = "1.2.840.10008.5.1.4.1.1.4"
_ENHANCED: Final = "1.2.840.10008.5.1.4.1.1.4.1"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_MAKER: Final = "2.25.300248503122057638582399577953263016629"
"""ImplementationClassUID of synthetic files: another than that of results, which are left out."""

_DATE, _TIME = "20200101", "120000"


def classic(plan: SeriesPlan) -> list[FileDataset]:
    """Return a file a slice."""
    files = []
    for at in range(plan.grid.shape[0]):
        dataset = _file(plan, _CLASSIC, uid(plan.study, "instance", plan.number, at))
        dataset.InstanceNumber = at + 1
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
        _timing(dataset, plan)
        dataset.ScanningSequence = list(plan.protocol.scanning)
        dataset.SequenceVariant = "NONE"
        dataset.ScanOptions = ""
        dataset.MRAcquisitionType = "2D"
        dataset.EchoTrainLength = 1
        spacing = plan.grid.spacing
        dataset.PixelSpacing = _decimals([spacing.row, spacing.column])
        dataset.SliceThickness = _decimals([spacing.between_slices])[0]
        dataset.SpacingBetweenSlices = dataset.SliceThickness
        dataset.ImagePositionPatient = _decimals(plan.grid.position(at))
        dataset.ImageOrientationPatient = _decimals(plan.grid.orientation)
        dataset.RescaleSlope, dataset.RescaleIntercept = _decimals([plan.slope, plan.intercept])
        dataset.RescaleType = "US"
        _window(dataset, plan)
        _pixels(dataset, plan, plan.stored[at])
        files.append(dataset)
    return files


def enhanced(plan: SeriesPlan) -> list[FileDataset]:
    """Return one file of all slices."""
    dataset = _file(plan, _ENHANCED, uid(plan.study, "instance", plan.number))
    slices = plan.grid.shape[0]
    dataset.InstanceNumber = 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "T1" if plan.sequence != "FLAIR" else "T2", "NONE"]
    dataset.NumberOfFrames = slices
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ComplexImageComponent = "MAGNITUDE"
    dataset.AcquisitionContrast = "T1" if plan.sequence != "FLAIR" else "FLUID_ATTENUATED"
    dataset.EchoPulseSequence = "SPIN"
    dataset.MRAcquisitionType = "2D"
    dataset.AcquisitionDateTime = _DATE + _TIME
    dataset.AcquisitionDuration = 60.0
    dataset.ResonantNucleus = "1H"
    dataset.KSpaceFiltering = "NONE"
    dataset.MagneticFieldStrength = "1.5"
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "INVERSE" if plan.inverted else "IDENTITY"
    _dimensions(dataset)
    dataset.SharedFunctionalGroupsSequence = [_shared(plan)]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(plan, at) for at in range(slices)]
    dataset.AcquisitionContextSequence = []
    _pixels(dataset, plan, plan.stored)
    return [dataset]


def _file(plan: SeriesPlan, sop_class: str, instance: str) -> FileDataset:
    from pydicom import FileDataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(_EXPLICIT)
    meta.ImplementationClassUID = UID(_MAKER)
    dataset = FileDataset(os.devnull, {}, preamble=b"\0" * 128, file_meta=meta)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    identity = plan.identity
    dataset.PatientName, dataset.PatientID = identity.name, identity.number
    dataset.PatientBirthDate, dataset.PatientSex = identity.birth_date, identity.sex
    dataset.StudyInstanceUID = uid(plan.study, "study")
    dataset.SeriesInstanceUID = plan.series_uid
    dataset.FrameOfReferenceUID = plan.grid.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.StudyID, dataset.SeriesNumber, dataset.AccessionNumber = "1", plan.number, ""
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = _DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = _TIME
    dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.BodyPartExamined, dataset.Laterality = "MR", "HEAD", ""
    dataset.PatientPosition = "HFS"
    dataset.Manufacturer, dataset.ManufacturerModelName = "SYNTHETIC", "to-dicom"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "0", "1"
    dataset.SeriesDescription = dataset.ProtocolName = plan.protocol.description
    if plan.protocol.agent:
        dataset.ContrastBolusAgent = plan.protocol.agent
    return dataset


def _timing(dataset: Dataset, plan: SeriesPlan) -> None:
    dataset.RepetitionTime = _decimals([plan.protocol.repetition_ms])[0]
    dataset.EchoTime = _decimals([plan.protocol.echo_ms])[0]
    if plan.protocol.inversion_ms is not None:
        dataset.InversionTime = _decimals([plan.protocol.inversion_ms])[0]


def _window(dataset: Dataset, plan: SeriesPlan) -> None:
    """Declare the window with the default function, LINEAR, which is a grey level narrower."""
    if plan.window is None:
        return
    low, high = plan.window
    dataset.WindowCenter = _decimals([(low + high) / 2 + 0.5])[0]
    dataset.WindowWidth = _decimals([high - low + 1])[0]


def _pixels(dataset: Dataset, plan: SeriesPlan, stored: np.ndarray[Any, Any]) -> None:
    depth = 8 * stored.dtype.itemsize
    signed = stored.dtype.kind == "i"
    bits = depth if signed or depth == 8 else max(8, int(plan.stored.max()).bit_length())  # noqa: PLR2004
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if plan.inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = plan.grid.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = depth, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    content = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if depth == 8 else "OW"  # noqa: PLR2004


def _dimensions(dataset: Dataset) -> None:
    from pydicom import Dataset as Item
    from pydicom.tag import Tag

    organization = uid(dataset.SOPInstanceUID, "dimensions")
    held = Item()
    held.DimensionOrganizationUID = organization
    dataset.DimensionOrganizationSequence = [held]
    index = Item()
    index.DimensionOrganizationUID = organization
    index.DimensionIndexPointer = Tag("InStackPositionNumber")
    index.FunctionalGroupPointer = Tag("FrameContentSequence")
    dataset.DimensionIndexSequence = [index]


def _shared(plan: SeriesPlan) -> Dataset:
    from pydicom import Dataset as Item

    spacing = plan.grid.spacing
    thickness = _decimals([spacing.between_slices])[0]
    timing = {"RepetitionTime": plan.protocol.repetition_ms, "FlipAngle": 90.0}
    groups: dict[str, dict[str, Any]] = {
        "PixelMeasuresSequence": {
            "PixelSpacing": _decimals([spacing.row, spacing.column]),
            "SliceThickness": thickness,
            "SpacingBetweenSlices": thickness,
        },
        "PlaneOrientationSequence": {"ImageOrientationPatient": _decimals(plan.grid.orientation)},
        "PixelValueTransformationSequence": {
            "RescaleSlope": _decimals([plan.slope])[0],
            "RescaleIntercept": _decimals([plan.intercept])[0],
            "RescaleType": "US",
        },
        "FrameAnatomySequence": {"FrameLaterality": "U"},
        "MRTimingAndRelatedParametersSequence": {**timing, "EchoTrainLength": 1},
        "MREchoSequence": {"EffectiveEchoTime": plan.protocol.echo_ms},
    }
    shared = Item()
    for keyword, values in groups.items():
        setattr(shared, keyword, [_item(values)])
    if plan.protocol.inversion_ms is not None:
        modifier = {"InversionRecovery": "YES", "InversionTimes": plan.protocol.inversion_ms}
        shared.MRModifierSequence = [_item(modifier)]
    if plan.window is not None:
        window = Item()
        _window(window, plan)
        shared.FrameVOILUTSequence = [window]
    return shared


def _frame(plan: SeriesPlan, at: int) -> Dataset:
    from pydicom import Dataset as Item

    content = {
        "StackID": "1",
        "InStackPositionNumber": at + 1,
        "DimensionIndexValues": [at + 1],
        "FrameAcquisitionNumber": 1,
    }
    frame = Item()
    frame.FrameContentSequence = [_item(content)]
    position = {"ImagePositionPatient": _decimals(plan.grid.position(at))}
    frame.PlanePositionSequence = [_item(position)]
    return frame


def _item(values: dict[str, Any]) -> Dataset:
    from pydicom import Dataset as Item

    made = Item()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _decimals(values: Sequence[float | None]) -> list[str]:
    """Format numbers for the VR DS: at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value)) for value in values if value is not None]
