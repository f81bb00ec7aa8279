"""What all objects of a result have in common, and their bytes."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from scanside.study.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MANUFACTURER,
)
from scanside.writers.dicom.context import EncodedObject

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from scanside.writers.dicom.context import Algorithm
    from scanside.writers.dicom.uids import Identity

__all__ = [
    "RESEARCH",
    "Common",
    "Series",
    "encode",
    "new_object",
    "referenced_series",
    "sop_reference",
]

RESEARCH = "Research, not for diagnosis"
"""What every object says."""


class Common(NamedTuple):
    """What all objects of a result share.

    Attributes
    ----------
    inherited
        Patient and study, valid.
    algorithm
        What made the findings.
    created
        Content date and time.
    identity
        The result's UIDs.
    device_uid
        The UID of this software with this bundle, the same in all its results.
    """

    inherited: Dataset
    algorithm: Algorithm
    created: datetime
    identity: Identity
    device_uid: str


class Series(NamedTuple):
    """A series of results.

    Attributes
    ----------
    kind
        ``sr``, ``seg`` or ``capture``: in names of files and in what UIDs are made from.
    sop_class_uid, modality
        As in DICOM.
    number
        SeriesNumber (0020,0011).
    description
        SeriesDescription (0008,103E), at most 64 characters.
    """

    kind: str
    sop_class_uid: str
    modality: str
    number: int
    description: str


def new_object(common: Common, series: Series, instance: int = 1) -> Dataset:
    """Begin an object: patient, study, series, equipment and SOP common.

    Parameters
    ----------
    common
        What all objects of the result share.
    series
        The object's series.
    instance
        InstanceNumber (0020,0013).
    """
    made = Dataset()
    made.update(common.inherited)
    made.SOPClassUID = series.sop_class_uid
    made.SOPInstanceUID = common.identity.uid(f"{series.kind} {instance}")
    made.InstanceNumber = instance
    made.SeriesInstanceUID = common.identity.uid(f"{series.kind} series")
    made.SeriesNumber = series.number
    made.SeriesDescription = series.description
    made.Modality = series.modality
    made.ContentDate = common.created.strftime("%Y%m%d")
    made.ContentTime = common.created.strftime("%H%M%S")
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = MANUFACTURER
    made.SoftwareVersions = common.algorithm.software
    # Enhanced General Equipment asks for one; this software is told apart by its bundle.
    made.DeviceSerialNumber = common.algorithm.bundle_sha256
    return made


def encode(made: Dataset, series: Series) -> EncodedObject:
    """Write an object as a file: explicit VR little endian, zero preamble, our own names.

    Parameters
    ----------
    made
        The object; it is changed only in its file meta information.
    series
        Its series.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(made.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(made.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    made.file_meta = meta
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return EncodedObject(
        kind=series.kind,
        study_instance_uid=str(made.StudyInstanceUID),
        series_instance_uid=str(made.SeriesInstanceUID),
        sop_class_uid=str(made.SOPClassUID),
        sop_instance_uid=str(made.SOPInstanceUID),
        file_name=f"{series.kind}_{int(made.InstanceNumber):04d}_{made.SOPInstanceUID}.dcm",
        content=buffer.getvalue(),
    )


def sop_reference(source: Dataset, frame: int | None = None) -> Dataset:
    """Name an object, and a frame of it where it has several, as an item of a sequence.

    Parameters
    ----------
    source
        The object.
    frame
        Number of the frame from 1; none for the whole object.
    """
    made = Dataset()
    made.ReferencedSOPClassUID = str(source.SOPClassUID)
    made.ReferencedSOPInstanceUID = str(source.SOPInstanceUID)
    if frame is not None:
        made.ReferencedFrameNumber = frame
    return made


def referenced_series(sources: Iterable[Dataset], items: str) -> list[Dataset]:
    """Name objects by series: items of a sequence, in the order in which series first come.

    Parameters
    ----------
    sources
        The objects.
    items
        Keyword of the sequence inside that holds the objects of a series.
    """
    by_series: dict[str, list[Dataset]] = {}
    for source in sources:
        by_series.setdefault(str(source.SeriesInstanceUID), []).append(sop_reference(source))
    found = []
    for uid, objects in by_series.items():
        series = Dataset()
        setattr(series, items, objects)
        series.SeriesInstanceUID = uid
        found.append(series)
    return found
