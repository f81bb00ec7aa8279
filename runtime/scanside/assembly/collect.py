"""Files of DICOM and NIfTI, in folders and archives, to studies of candidates."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from scanside.assembly.candidates import DicomCandidate, NiftiCandidate
from scanside.discretion import quiet
from scanside.errors import InputError
from scanside.readers.blobs import Blob, members
from scanside.readers.dicom.header import Sop, read_header
from scanside.readers.dicom.series import group_series
from scanside.readers.image import source_name
from scanside.readers.nifti import read_nifti

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scanside.assembly.candidates import Candidate
    from scanside.readers.blobs import StudyFile
    from scanside.readers.dicom.header import Header

__all__ = ["Collection", "StudyFiles", "collect"]


@dataclass(eq=False)
class StudyFiles:
    """The series of one study.

    Attributes
    ----------
    name
        The folder or archive that all its files lie in; with a number if other studies lie in the
        same one.
    candidates
        Its series.
    """

    name: str
    candidates: list[Candidate] = field(default_factory=list)


class Collection(NamedTuple):
    """What was found.

    Attributes
    ----------
    studies
        In the order of their first files.
    left_out
        How many files were left out, by reason.
    unreadable
        Files that are not accepted, with the reason: to be reported as rejected.
    """

    studies: tuple[StudyFiles, ...]
    left_out: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]


def collect(found: Iterable[StudyFile]) -> Collection:
    """Read the headers of files and group them by study and series.

    DICOM files are of a study by their StudyInstanceUID, NIfTI files by the folder they lie in.

    Parameters
    ----------
    found
        The files.

    Raises
    ------
    ExtraNotInstalledError
        If there are DICOM or NIfTI files and the library that reads them is not installed.
    """
    with quiet():
        return _collected(found)


def _collected(found: Iterable[StudyFile]) -> Collection:
    left_out: Counter[str] = Counter()
    unreadable: list[tuple[str, str]] = []
    dicom: dict[str, list[Header]] = {}
    nifti: dict[str, list[Candidate]] = {}
    for blob, kind in _blobs(found, left_out, unreadable):
        try:
            if kind == "NIfTI":
                folder = blob.source.replace("\\", "/").rpartition("/")[0]
                nifti.setdefault(folder, []).append(NiftiCandidate(read_nifti(blob)))
                continue
            header = read_header(blob)
        except InputError as error:
            unreadable.append((blob.source, str(error).removeprefix(f"{blob.source}: ")))
            continue
        if header.sop_class == Sop.DICOMDIR:
            left_out["DICOMDIR files"] += 1
        else:
            dicom.setdefault(header.study_uid, []).append(header)
    studies: list[list[Candidate]] = []
    for headers in dicom.values():
        series, copies = group_series(headers)
        left_out["copies of DICOM instances"] += copies
        studies.append([DicomCandidate(each) for each in series])
    named = _named([*studies, *nifti.values()])
    return Collection(named, dict(+left_out), tuple(unreadable))


def _blobs(
    found: Iterable[StudyFile], left_out: Counter[str], unreadable: list[tuple[str, str]]
) -> Iterator[tuple[Blob, str]]:
    for path, kind in found:
        source = source_name(path)
        if kind != "zip":
            yield Blob(source, path), kind
            continue
        try:
            for blob, inner in members(path):
                if inner in {"DICOM", "NIfTI"}:
                    yield blob, inner
                else:
                    left_out[f"{inner} files in archives"] += 1
        except InputError as error:
            unreadable.append((source, str(error).removeprefix(f"{source}: ")))


def _named(studies: list[list[Candidate]]) -> tuple[StudyFiles, ...]:
    """Name studies after what their files have in common."""
    named = []
    taken: Counter[str] = Counter()
    for candidates in studies:
        sources = [source for each in candidates for source in each.sources]
        name = _common(sources)
        taken[name] += 1
        number = taken[name]
        named.append(StudyFiles(name if number == 1 else f"{name} #{number}", candidates))
    return tuple(named)


def _common(sources: list[str]) -> str:
    folders = {source.rpartition("/")[0] or "." for source in sources}
    try:
        return os.path.commonpath(folders)
    except ValueError:  # absolute and relative paths
        return min(folders)
