"""Small MR objects that are made up, for tests of the DICOM node."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["encoded", "instance", "write"]


def instance(study: int, number: int, *, seed: int = 0, side: int = 16) -> Dataset:
    """Make an MR slice of made-up patient and pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    uid = f"1.2.826.0.1.3680043.10.1.{study}.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.10.1.{study}"
    dataset.SeriesInstanceUID = f"{dataset.StudyInstanceUID}.1"
    dataset.FrameOfReferenceUID = f"{dataset.StudyInstanceUID}.2"
    dataset.PatientName, dataset.PatientID = "CANARY^PATIENT", "CANARY-ID"
    dataset.Modality, dataset.InstanceNumber = "MR", number
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    pixels = np.random.default_rng([seed, study, number]).integers(0, 1000, (side, side))
    dataset.PixelData = pixels.astype("<u2").tobytes()
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """Encode a dataset as a DICOM file."""
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def write(dataset: Dataset, path: Path) -> Path:
    """Write a dataset as a DICOM file."""
    path.write_bytes(encoded(dataset))
    return path
