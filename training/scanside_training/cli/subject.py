"""Which slices an evaluation is about, and what has to be known to read its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import click

from scanside.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.evaluation.dataset import DatasetSlice
    from scanside_training.document import Subject
    from scanside_training.load import Loaded

__all__ = ["ChosenSlices", "choose", "notes_on"]

_CAUTIONS: Final = {
    "train": "The models were trained on these patients: the figures say how well they remember.",
    "validation": "These patients chose the best epoch, and perhaps the thresholds: the figures"
    " are kinder than those of patients kept aside.",
    "all": "Among these patients may be some that the models were trained on.",
}


class ChosenSlices(NamedTuple):
    """The slices to measure on, and what the document says of them."""

    slices: tuple[DatasetSlice, ...]
    subject: Subject


def choose(data: Path, split_file: Path | None, part: str | None) -> ChosenSlices:
    """Index the dataset and take the slices of the part."""
    from scanside.cli.indexing import index
    from scanside.evaluation.splits import check_split, read_split
    from scanside_training.document import Subject

    if split_file is None and part not in {None, "all"}:
        raise click.UsageError(f"--part {part} needs --split")
    split = None if split_file is None else read_split(split_file)
    dataset = index(data)
    part = part or ("all" if split is None else "test")
    patients = dataset.patients
    if split is not None:
        check_split(split, dataset)
        if part != "all":
            patients = getattr(split, part)
    if not patients:
        raise InputError(
            f"the {part} part of {split_file} has no patient",
            accepted="a part with patients",
            remedy="name another with --part, or split with a larger share",
        )
    slices = dataset.of(patients)
    return ChosenSlices(
        slices,
        Subject(
            dataset_sha256=dataset.sha256,
            part=part,
            split_seed=None if split is None else split.seed,
            patients=len(patients),
            slices=len(slices),
            positive=sum(item.positive for item in slices),
        ),
    )


def notes_on(loaded: Loaded, chosen: ChosenSlices) -> list[str]:
    """Say what the figures do not."""
    subject = chosen.subject
    notes = [_CAUTIONS[subject.part]] if subject.part in _CAUTIONS else []
    if loaded.dataset_sha256 not in {None, subject.dataset_sha256}:
        notes.append(
            f"The bundle was made from another dataset ({str(loaded.dataset_sha256)[:12]})."
        )
    return notes
