"""Are all series of one patient and one study? What differs is named, its values never are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.discretion import refusing
from scanside.readers.dicom.values import text
from scanside.study.reasons import refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom import Dataset

    from scanside.assembly.candidates import Candidate

__all__ = ["check_identity"]

_IDENTITY: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
"""Attributes that tell patients apart. One that a file lacks tells nothing."""


def check_identity(series: Iterable[Candidate]) -> None:
    """Check that series are of one patient, one study, and one kind of file.

    Parameters
    ----------
    series
        The series; results of scanside and what is no image are not looked at.

    Raises
    ------
    InputError
        With the reason ``different patients`` or ``different studies``.
    """
    images = [candidate for candidate in series if candidate.refusal() is None]
    if len({candidate.kind for candidate in images}) > 1:
        raise refused(
            "different studies",
            "some series are DICOM, others NIfTI",
            accepted="series of one kind",
        )
    subjects = {candidate.subject for candidate in images} - {""}
    if len(subjects) > 1:
        raise refused(
            "different patients",
            f"by their names the files are of {len(subjects)} subjects or sessions",
            accepted="files of one subject and session",
            remedy="name files that belong together",
        )
    datasets = [each for candidate in images for each in candidate.datasets()]
    with refusing("the study", "the patient's identity"):
        different = [name for name in _IDENTITY if len(_values(datasets, name)) > 1]
        studies = len(_values(datasets, "StudyInstanceUID"))
    if different:
        raise refused(
            "different patients",
            f"the files differ in {', '.join(different)}",
            accepted="series of one patient",
            remedy="correct the identity in the PACS and send the study again",
        )
    if studies > 1:
        raise refused(
            "different studies",
            f"the series are of {studies} studies",
            accepted="series of one study",
        )


def _values(datasets: Iterable[Dataset], name: str) -> set[str]:
    """Return an attribute's values, as written differently by no more than form."""
    values = (text(dataset, name).replace("^", " ").casefold() for dataset in datasets)
    return {" ".join(value.split()) for value in values} - {""}
