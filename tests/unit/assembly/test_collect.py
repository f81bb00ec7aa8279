"""Files to studies: whose a NIfTI file is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")
nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")

import studies  # noqa: E402
from scanside.assembly.choose import choose  # noqa: E402
from scanside.assembly.collect import StudyFiles, collect  # noqa: E402
from scanside.assembly.rules import load_rules  # noqa: E402
from scanside.preprocess import CHANNELS  # noqa: E402
from scanside.readers.discover import discover  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

AFFINE = np.diag([-0.9, -0.9, 5.0, 1.0])
BIDS = "{}_acq-pre_T1w", "{}_FLAIR", "{}_ce-gd_T1w"
BRATS = "{}-t1n", "{}-t2f", "{}-t1c"


def save(folder: Path, name: str) -> None:
    voxels = studies.slices(4)[..., 1].transpose(2, 1, 0)
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.set_sform(AFFINE, 1)
    nibabel.save(image, folder / f"{name}.nii.gz")


def found(folder: Path) -> dict[str, bool]:
    """Which studies there are, by what comes after the folder in their name; accepted or not."""
    collected = collect(discover([folder], studies=True).studies).studies
    return {
        study.name.removeprefix(str(folder)): choose(study, load_rules()).error is None
        for study in collected
    }


@pytest.mark.parametrize(
    ("names", "subjects"),
    [
        (BIDS, ("sub-01", "sub-02")),
        (BIDS, ("sub-01_ses-1", "sub-01_ses-2")),
        (BRATS, ("BraTS-GLI-00000-000", "BraTS-GLI-00001-000")),
        (("{}_t1_pre", "{}_flair", "{}_t1ce"), ("sub-01", "sub-02")),
    ],
)
def test_several_subjects_in_one_folder_are_several_studies(
    tmp_path: Path, names: tuple[str, ...], subjects: tuple[str, str]
) -> None:
    for subject in subjects:
        for name in names:
            save(tmp_path, name.format(subject))
    assert found(tmp_path) == {f"/{subject}": True for subject in subjects}


def test_sequences_of_different_subjects_are_no_study(tmp_path: Path) -> None:
    for name, subject in zip(BIDS, ("sub-01", "sub-02", "sub-03"), strict=True):
        save(tmp_path, name.format(subject))
    assert found(tmp_path) == {"/sub-01": False, "/sub-02": False, "/sub-03": False}


def test_files_that_name_nobody_belong_to_the_only_subject(tmp_path: Path) -> None:
    for name in (*(name.format("sub-01") for name in BIDS), "brain_mask", "B1 map"):
        save(tmp_path, name)
    assert found(tmp_path) == {"": True}


@pytest.mark.parametrize(("subjects", "accepted"), [("112", False), ("111", True)])
def test_series_that_are_named_must_be_of_one_subject_too(
    tmp_path: Path,
    subjects: str,
    accepted: bool,  # noqa: FBT001
) -> None:
    named = {}
    for sequence, name, subject in zip(CHANNELS, BIDS, subjects, strict=True):
        folder = tmp_path / sequence
        folder.mkdir()
        save(folder, name.format(f"sub-{subject}"))
        (study,) = collect(discover([folder], studies=True).studies).studies
        (named[sequence],) = study.candidates
    error = choose(StudyFiles("", list(named.values())), load_rules(), named=named).error
    assert (error is None) == accepted
    assert accepted or str(error).startswith("different patients: by their names")
