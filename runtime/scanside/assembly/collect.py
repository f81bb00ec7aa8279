"""Files of DICOM and NIfTI, in folders and archives, to studies of candidates."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
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
        The folder or archive that all its files lie in; with the subject, or else a number, if
        other studies lie in the same one.
    candidates
        Its series.
    unreadable
        Files beside those of its series that are not accepted, and why: as in `Collection`.
    """

    name: str
    candidates: list[Candidate] = field(default_factory=list)
    unreadable: tuple[tuple[str, str], ...] = ()


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

    DICOM files are of a study by their StudyInstanceUID, NIfTI files by the folder they lie in and
    by the subject and session that their names give, as those of BIDS and BraTS do.

    Parameters
    ----------
    found
        The files.

    Raises
    ------
    ExtraNotInstalledError
        If there are DICOM or NIfTI files and the library that reads them is not installed.
    """
    collector = _Collector()
    with quiet():
        for file in found:
            collector.take(file)
        return collector.collection()


class _Collector:
    """What has been found so far."""

    def __init__(self) -> None:
        self._left_out: Counter[str] = Counter()
        self._unreadable: list[tuple[str, str]] = []
        self._dicom: dict[str, list[Header]] = {}
        self._nifti: dict[str, dict[str, list[Candidate]]] = {}

    def take(self, file: StudyFile) -> None:
        """Read the headers of a file, or of the files in an archive."""
        source = source_name(file.path)
        if file.kind != "zip":
            self._blob(Blob(source, file.path), file.kind)
            return
        with self._rejecting(source):
            for blob, kind in members(file.path):
                self._blob(blob, kind)

    def collection(self) -> Collection:
        """Return everything, grouped by study and series."""
        studies = [("", self._series(headers)) for headers in self._dicom.values()]
        for subjects in self._nifti.values():
            studies += _by_subject(subjects)
        named = _named([study for study in studies if study[1]])
        for study in named:
            sources = (source for each in study.candidates for source in each.sources)
            folders = {_folder(source) for source in sources}
            study.unreadable = tuple(
                file for file in self._unreadable if _folder(file[0]) in folders
            )
        return Collection(named, dict(+self._left_out), tuple(self._unreadable))

    def _blob(self, blob: Blob, kind: str) -> None:
        with self._rejecting(blob.source):
            if kind == "NIfTI":
                candidate = NiftiCandidate(read_nifti(blob))
                subjects = self._nifti.setdefault(_folder(blob.source), {})
                subjects.setdefault(candidate.subject, []).append(candidate)
            elif kind == "DICOM":
                self._header(read_header(blob))
            else:
                self._left_out[f"{kind} files in archives"] += 1

    def _header(self, header: Header) -> None:
        if header.sop_class == Sop.DICOMDIR:
            self._left_out["DICOMDIR files"] += 1
        else:
            self._dicom.setdefault(header.study_uid, []).append(header)

    def _series(self, headers: list[Header]) -> list[Candidate]:
        found, copies = group_series(headers)
        self._left_out["copies of DICOM instances"] += copies
        candidates: list[Candidate] = []
        for series in found:
            with self._rejecting(series.first.blob.source):
                candidates.append(DicomCandidate(series))
        return candidates

    @contextmanager
    def _rejecting(self, source: str) -> Iterator[None]:
        """Note what is refused, and go on."""
        try:
            yield
        except InputError as error:
            self._unreadable.append((source, str(error).removeprefix(f"{source}: ")))


def _by_subject(subjects: dict[str, list[Candidate]]) -> list[tuple[str, list[Candidate]]]:
    """Part the NIfTI files of a folder by subject; those that name none belong to the only one."""
    if len(subjects.keys() - {""}) > 1:
        return list(subjects.items())
    return [("", [candidate for some in subjects.values() for candidate in some])]


def _named(studies: list[tuple[str, list[Candidate]]]) -> tuple[StudyFiles, ...]:
    """Name studies after what their files have in common, and after the subject if it has one."""
    named = []
    taken: Counter[str] = Counter()
    for subject, candidates in studies:
        sources = [source for each in candidates for source in each.sources]
        name = "/".join(part for part in (_common(sources), subject) if part)
        taken[name] += 1
        number = taken[name]
        named.append(StudyFiles(name if number == 1 else f"{name} #{number}", candidates))
    return tuple(named)


def _folder(source: str) -> str:
    return source.replace("\\", "/").rpartition("/")[0]


def _common(sources: list[str]) -> str:
    folders = {source.rpartition("/")[0] or "." for source in sources}
    try:
        return os.path.commonpath(folders)
    except ValueError:  # absolute and relative paths
        return min(folders)
