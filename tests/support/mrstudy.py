"""Studies of synthetic MR series as pydicom datasets, as a reader would hand them on.

Built by hand, after the standard, so that writers are tested apart from readers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

import toy
from scanside.preprocess import CHANNELS, Window
from scanside.records import SliceResult
from scanside.study.grid import Grid
from scanside.study.measure import measure
from scanside.study.model import Findings, FrameReference, Note, Source, Study
from scanside.study.orient import axial_view, seen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.study.model import FindingsStatus

STUDY_UID = "2.25.1001"
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "ID-1",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "PatientAge": "042Y",
    "PatientWeight": "71.5",
    "StudyDate": "20240229",
    "StudyTime": "101112",
    "ContentDate": "20240229",
    "ContentTime": "111213.5",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Roe^Richard",
    "StudyDescription": "MR brain",
}


def affine(
    *, spacing: tuple[float, float, float] = (0.9, 0.8, 5.0), oblique: float = 0.0
) -> NDArray[np.float64]:
    """An axial grid's affine; spacing of columns, rows, slices; turned about x by some degrees."""
    angle = np.deg2rad(oblique)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    made = np.eye(4)
    made[:3, :3] = turn @ np.diag(spacing)
    made[:3, 3] = (-100.25, -90.5, -30.125)
    return made


SAGITTAL = np.array(
    [[0.0, 0.0, 1.5, -60.0], [1.0, 0.0, 0.0, -100.0], [0.0, -1.0, 0.0, 90.0], [0.0, 0.0, 0.0, 1.0]]
) @ np.diag([1.0, 1.0, -1.0, 1.0])
"""Columns to posterior, rows to the feet, slices to the patient's right: right-handed."""


def datasets(
    sequence: str, grid: Grid, attributes: dict[str, object], *, enhanced: bool
) -> tuple[tuple[Dataset, ...], tuple[FrameReference, ...]]:
    """A series' datasets without pixels, and where its frames are."""
    series = CHANNELS.index(sequence) + 1
    slices = grid.shape[0]
    if enhanced:
        one = _header(series, attributes, EnhancedMRImageStorage)
        one.SOPInstanceUID = f"{STUDY_UID}.{series}.1"
        one.NumberOfFrames = slices
        return (one,), tuple(FrameReference(0, k + 1) for k in range(slices))
    found = []
    for k in range(slices):
        one = _header(series, attributes, MRImageStorage)
        one.SOPInstanceUID = f"{STUDY_UID}.{series}.{k + 1}"
        one.ImagePositionPatient = list(grid.position(k))
        one.ImageOrientationPatient = list(grid.orientation)
        one.Rows, one.Columns = grid.shape[1:]
        found.append(one)
    return tuple(found), tuple(FrameReference(k) for k in range(slices))


def _header(series: int, attributes: dict[str, object], sop_class: str) -> Dataset:
    made = Dataset()
    made.SOPClassUID = sop_class
    made.StudyInstanceUID = STUDY_UID
    made.SeriesInstanceUID = f"{STUDY_UID}.{series}"
    made.Modality = "MR"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def study(
    *,
    slices: int = 5,
    side: tuple[int, int] = (96, 100),
    placed: NDArray[np.float64] | None = None,
    attributes: dict[str, object] | None = None,
    enhanced: bool = False,
    filled: tuple[str, ...] = (),
    frame_of_reference: str | None = "2.25.77",
) -> Study:
    """A study with lesions in some slices of its FLAIR series' grid."""
    grid = Grid(affine() if placed is None else placed, (slices, *side), frame_of_reference)
    view = axial_view(grid)
    volume = np.stack([toy.lesion_slice(n, side=256)[: side[0], : side[1]] for n in range(slices)])
    sources = []
    for channel, sequence in enumerate(CHANNELS):
        if sequence in filled:
            continue
        files, frames = datasets(
            sequence, grid, PATIENT if attributes is None else attributes, enhanced=enhanced
        )
        digest = hashlib.sha256(volume[..., channel].tobytes()).hexdigest()
        sources.append(Source(sequence, grid, Window(0, 255), digest, files, frames))
    images = np.stack([view.apply(volume[..., n]) for n in range(3)], axis=-1)
    notes = tuple(
        Note("filled", sequence, f"FLAIR stands in for {sequence}") for sequence in filled
    )
    return Study("study", "dicom", images, seen(grid, view), view, tuple(sources), filled, notes)


def mask(shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """A mask without any symmetry, in two slices only."""
    _, height, width = shape
    made = np.zeros(shape, bool)
    made[1, height // 9 : height // 3, width // 5 : width // 2] = True
    made[3, height // 8 : height // 5, width // 4 : width // 3] = True
    made[3, height // 2, width // 2] = True
    return made


def findings(
    made: Study,
    *,
    found: bool = True,
    status: FindingsStatus = "ok",
    analysed: int | None = None,
) -> Findings:
    """Findings of a study, of any outcome."""
    slices = made.grid.shape[0]
    count = slices if analysed is None else analysed
    masks = mask(made.grid.shape) if found else np.zeros(made.grid.shape, bool)
    masks[count:] = False
    records = []
    for k in range(count):
        doubtful = status == "indeterminate" and k == 0
        records.append(
            SliceResult(
                source="study",
                index=k,
                status="indeterminate" if doubtful else "ok",
                tumor=None if doubtful else bool(masks[k].any()),
                tumor_probability=0.5,
                filled=made.filled,
            )
        )
    return Findings(made, tuple(records), masks, status, measure(masks, made.grid))
