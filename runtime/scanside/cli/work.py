"""What ``scanside run`` is about: the files that were found, and the studies among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from scanside.cli.use import Subjects
from scanside.errors import InputError
from scanside.readers.discover import Discovery, discover
from scanside.readers.image import STDIN
from scanside.readers.structure import ACCEPTED

if TYPE_CHECKING:
    from scanside.cli.results import ResultOptions
    from scanside.cli.studies import ChosenStudies, ReadStudies
    from scanside.cli.studyoptions import StudyOptions
    from scanside.study.model import SourceKind

__all__ = ["Work", "discover_inputs", "subjects"]


class Work(NamedTuple):
    """What a run is about.

    Attributes
    ----------
    found
        Image files, and what could not be looked at.
    studies
        Studies, the first of them read.
    """

    found: Discovery
    studies: ReadStudies

    @property
    def chosen(self) -> ChosenStudies:
        """Studies as far as their headers tell."""
        return self.studies.chosen

    @property
    def slices(self) -> int:
        """Files and slices of studies: as many slices as can be told before reading."""
        return len(self.found.files) + self.chosen.slices

    @property
    def steps(self) -> int:
        """Files, and studies, read or not: what progress is counted in."""
        images, studies = self.found, self.chosen
        return sum(map(len, (images.files, images.unreadable, studies.studies, studies.unreadable)))

    @property
    def left_out(self) -> dict[str, int]:
        """How many files and series were left out, by reason."""
        return {**self.found.left_out, **self.chosen.left_out}

    def check(self) -> None:
        """Refuse inputs of which nothing is left.

        Raises
        ------
        InputError
            If there is nothing to record: no slice, and nothing that is rejected.
        """
        if not self.steps:
            others = ", ".join(f"{number} {reason}" for reason, number in self.left_out.items())
            raise InputError(
                f"there is no image and no study in the inputs ({others or 'they are empty'})",
                accepted=f"{ACCEPTED}; DICOM, NIfTI, zip archives of those two",
                remedy="name the files or the folder that hold the slices",
            )


def discover_inputs(inputs: tuple[Path, ...]) -> Discovery:
    """Find the files that a run is about.

    Raises
    ------
    UsageError
        If standard input is named with others.
    InputError
        As for `scanside.readers.discover.discover`.
    """
    if Path("-") in inputs:
        if len(inputs) > 1:
            raise click.UsageError("- is one image on standard input: it can't be with others")
        return Discovery((STDIN,), {})
    return discover(inputs, studies=True) if inputs else Discovery((), {})


def subjects(
    found: Discovery,
    studies: StudyOptions,
    results: ResultOptions,
    chosen: ChosenStudies | None = None,
) -> Subjects:
    """Return what options may be about.

    Parameters
    ----------
    found
        The files.
    studies, results
        What was asked for.
    chosen
        The studies; none where no header was read yet: what is named, and what is in archives,
        may then be of either kind.
    """
    of_files: dict[str, set[SourceKind]] = {"DICOM": {"dicom"}, "NIfTI": {"nifti"}}
    kinds = {kind for file in found.studies for kind in of_files.get(file.kind, ())}
    if chosen is not None:
        kinds |= chosen.kinds_found
    elif studies.named or any(file.kind == "zip" for file in found.studies):
        kinds = {"dicom", "nifti"}
    return Subjects(bool(found.files), kinds, not found.studies, results.forms)
