"""What a dataset holds, as ``scanside data index`` prints it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from scanside.fields import Count, Part, Sha256

if TYPE_CHECKING:
    from scanside.evaluation.dataset import Dataset

__all__ = ["DATASET_SCHEMA", "Contents", "PatientContents", "contents"]

DATASET_SCHEMA: Final = "scanside.dataset/1"


class PatientContents(Part, frozen=True, kw_only=True):
    """A patient's slices.

    Attributes
    ----------
    patient
        Whose.
    slices, positive
        How many, and how many of them have tumour.
    tumor_px
        Pixels of tumour, over all slices.
    """

    patient: str
    slices: Count
    positive: Count
    tumor_px: Count


class Contents(Part, frozen=True, kw_only=True):
    """``scanside data index --format json``.

    Attributes
    ----------
    folder
        Where the dataset is.
    sha256
        `Dataset.sha256`.
    slices, positive
        How many slices, and how many of them have tumour.
    patients
        One each, sorted.
    problems
        What was left out, and why.
    """

    schema: Literal["scanside.dataset/1"] = DATASET_SCHEMA
    folder: str
    sha256: Sha256
    slices: Count
    positive: Count
    patients: tuple[PatientContents, ...]
    problems: tuple[str, ...]


def contents(dataset: Dataset) -> Contents:
    """Return what a dataset holds.

    Parameters
    ----------
    dataset
        The indexed dataset.
    """
    slices, positive, tumor = Counter[str](), Counter[str](), Counter[str]()
    for item in dataset.slices:
        slices[item.patient] += 1
        positive[item.patient] += item.positive
        tumor[item.patient] += item.tumor_px
    return Contents(
        folder=str(dataset.root),
        sha256=dataset.sha256,
        slices=len(dataset.slices),
        positive=positive.total(),
        patients=tuple(
            PatientContents(
                patient=name,
                slices=slices[name],
                positive=positive[name],
                tumor_px=tumor[name],
            )
            for name in dataset.patients
        ),
        problems=dataset.problems,
    )
