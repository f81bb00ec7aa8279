"""Which files a run is about: the images and studies that were named and those in folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError
from scanside.readers.blobs import STUDY_KINDS, StudyFile, content_kind
from scanside.readers.containers import HEAD, describe, recognise
from scanside.readers.image import source_name
from scanside.readers.structure import ACCEPTED
from scanside.records import FOLDERS, RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["IMAGE_SUFFIXES", "MASK_SUFFIX", "Discovery", "discover", "natural_key"]

IMAGE_SUFFIXES: Final = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp"})
"""Names that make a file in a folder an input without a look inside."""

MASK_SUFFIX: Final = "_mask"
"""End of the stem of an annotation, as in the LGG dataset: ``<slice>_mask.png``."""

_TWICE: Final = "files given twice"
_AGAIN: Final = "folders reached a second time"
_EARLIER: Final = "folders of pictures of an earlier run"

_Identity = tuple[int, int]
"""Device and inode of a folder."""

_Key = tuple[_Identity, str]
"""A file: its folder and name, links resolved. Two hard links are two files, since equal slices
may share their storage."""

_DIGITS: Final = re.compile("([0-9]+)")


class Discovery(NamedTuple):
    """What was found.

    Attributes
    ----------
    files
        The inputs, each once: in the order in which they were named, those of a folder in
        natural order (slice 2 before slice 10), before those of the folders in it.
    left_out
        How many files or folders were left out, by reason.
    unreadable
        What was named or lay in a folder and could not be looked at, with the reason: to be
        reported as rejected, since it may have been an image.
    studies
        DICOM, NIfTI and zip files, each once, where they were asked for.
    """

    files: tuple[Path, ...]
    left_out: dict[str, int]
    unreadable: tuple[tuple[Path, str], ...] = ()
    studies: tuple[StudyFile, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Images, and files of studies."""
        return (*self.files, *(file.path for file in self.studies))


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sorting key under which numbers in names count as numbers."""
    parts = _DIGITS.split(name)  # text and digits by turns, beginning with text
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], name


def discover(inputs: Sequence[Path], *, studies: bool = False) -> Discovery:
    """Find the files that a run is about.

    A file that was named is an input whatever it is; reading will tell. In a folder and the
    folders below it, files with an image suffix are inputs, and those whose first bytes are an
    accepted image. Left out and counted: hidden files and folders, ``<stem>_mask.<ext>`` beside
    an image ``<stem>.<ext2>``, everything else, and what is reached a second time. Links to
    folders are followed.

    Parameters
    ----------
    inputs
        Files and folders.
    studies
        Whether DICOM, NIfTI and zip files are inputs too. They are told by content alone, so
        that every file is looked into, whatever its name. An empty file in a folder with DICOM
        files is taken for one that has lost its content.

    Raises
    ------
    InputError
        If nothing was found, because one of `inputs` does not exist, is a folder that cannot
        be read, or is a folder without an image. Beside other inputs such a one is `unreadable`.
    """
    search = _Search(studies=studies)
    first: InputError | None = None
    for path in inputs:
        try:
            search.named(path)
        except InputError as error:  # noqa: PERF203 - what was named, not what was found
            first = first or error
            search.unreadable.append((path, str(error).removeprefix(f"{path}: ")))
    if first is not None and not search.files and not search.studies:
        raise first
    left_out = {reason: number for reason, number in search.left_out.items() if number}
    return Discovery(
        tuple(search.files.values()),
        left_out,
        tuple(search.unreadable),
        tuple(search.studies.values()),
    )


class _Search:
    """What has been found so far."""

    def __init__(self, *, studies: bool) -> None:
        self.files: dict[_Key, Path] = {}
        self.studies: dict[_Key, StudyFile] = {}
        self.left_out: Counter[str] = Counter()
        self.unreadable: list[tuple[Path, str]] = []
        self._folders: set[_Identity] = set()
        self._empty: list[os.DirEntry[str]] = []
        self._want_studies = studies

    def named(self, path: Path) -> None:
        """Take what the user named: a file as it is, a folder for the images in it."""
        try:
            if path.is_dir():
                self._tree(path)
            elif self._want_studies and path.is_file():
                self._take(path, _key(path), _study_kind(_head(path)))
            else:
                self._take(path, _key(path))
        except OSError as error:
            raise InputError(
                f"{source_name(path)}: cannot be read ({error.strerror})",
                accepted="files and folders that exist and may be read",
                remedy="check the path and the permissions",
            ) from error

    def _take(self, path: Path, key: _Key, study: str | None = None) -> None:
        """Take a file, unless it is an input already."""
        if key in self.files or key in self.studies:
            self.left_out[_TWICE] += 1
        elif study is not None:
            self.studies[key] = StudyFile(path, study)
        else:
            self.files[key] = path

    def _tree(self, top: Path) -> None:
        """Search a folder and those below it, without recursion: they may lie deep."""
        before, left_out = self._found(), self.left_out.copy()
        stack = [top]
        while stack:
            folder = stack.pop()
            try:
                stack += reversed(self._folder(folder))
            except OSError as error:
                if folder is top:
                    raise
                self._unreadable(folder, error)
        if self._found() == before:
            others = ", ".join(f"{n} {reason}" for reason, n in (self.left_out - left_out).items())
            what = "no image and no study" if self._want_studies else "no image"
            raise InputError(
                f"{source_name(top)}: there is {what} in this folder ({others or 'it is empty'})",
                accepted=f"{ACCEPTED}; DICOM, NIfTI, zip" if self._want_studies else ACCEPTED,
                remedy="name the folder that holds the slices",
            )

    def _found(self) -> int:
        """Count what was found, new or not."""
        again = self.left_out[_TWICE] + self.left_out[_AGAIN]
        return len(self.files) + len(self.studies) + len(self.unreadable) + again

    def _unreadable(self, path: Path, error: OSError) -> None:
        self.unreadable.append((path, error.strerror or str(error)))

    def _folder(self, folder: Path) -> list[Path]:
        """Take the images of one folder and return the folders in it."""
        identity = _identity(folder)
        if identity in self._folders:
            self.left_out[_AGAIN] += 1
            return []
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: natural_key(entry.name))
        self._folders.add(identity)
        if any(entry.name == RESULTS for entry in entries):
            entries = self._without_results(entries)
        before = len(self.studies)
        images, folders = self._sort(entries, identity)
        self._sort_empty(identity, tuple(islice(self.studies.values(), before, None)))
        stems = {_stem(name) for name in images}
        for name, key in images.items():
            stem = _stem(name)
            if stem.endswith(MASK_SUFFIX) and stem[: -len(MASK_SUFFIX)] in stems:
                self.left_out["masks of slices"] += 1
            else:
                self._take(folder / name, key)
        return folders

    def _without_results(self, entries: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        """Leave out what an earlier run wrote: an overlay must not become a slice."""
        kept = [entry for entry in entries if entry.name not in FOLDERS]
        self.left_out[_EARLIER] += len(entries) - len(kept)
        return kept

    def _sort(
        self, entries: list[os.DirEntry[str]], folder: _Identity
    ) -> tuple[dict[str, _Key], list[Path]]:
        """Tell images, by name, and folders from what is left out; studies are taken at once."""
        images, folders = {}, []
        for entry in entries:
            try:
                if entry.name.startswith("."):
                    self.left_out["hidden files and folders"] += 1
                elif entry.is_dir():
                    folders.append(Path(entry.path))
                elif not entry.is_file():
                    self.left_out["special files and broken links"] += 1
                elif self._is_image(entry, folder):
                    images[entry.name] = _entry_key(entry, folder)
            except OSError as error:  # noqa: PERF203 -- one bad entry must not hide the others
                self._unreadable(Path(entry.path), error)
        return images, folders

    def _sort_empty(self, folder: _Identity, taken: Iterable[StudyFile]) -> None:
        """Take what has lost its content among DICOM files as one: it is refused by name."""
        if any(file.kind == "DICOM" for file in taken):
            for entry in self._empty:
                self._take(Path(entry.path), _entry_key(entry, folder), "DICOM")
        else:
            self.left_out["empty files"] += len(self._empty)
        self._empty.clear()

    def _is_image(self, entry: os.DirEntry[str], folder: _Identity) -> bool:
        """Tell whether a file is an image; take it if it is of a study, else leave it out."""
        named = _suffix(entry.name) in IMAGE_SUFFIXES
        if named and not self._want_studies:
            return True
        head = _head(Path(entry.path))
        study = _study_kind(head) if self._want_studies else None
        if study is not None:
            self._take(Path(entry.path), _entry_key(entry, folder), study)
            return False
        if named or recognise(head):
            return True
        if not head:
            self._empty.append(entry)
            return False
        self.left_out[f"{describe(head)} files"] += 1
        return False


def _identity(folder: Path) -> _Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _key(path: str | Path) -> _Key:
    real = Path(os.path.realpath(path, strict=True))
    return _identity(real.parent), real.name


def _stem(name: str) -> str:
    """Return a name without its suffix; as `Path.stem`, which is slow for 100,000 names."""
    return name.rpartition(".")[0] or name


def _suffix(name: str) -> str:
    return name[len(_stem(name)) :].lower()


def _entry_key(entry: os.DirEntry[str], folder: _Identity) -> _Key:
    return _key(entry.path) if entry.is_symlink() else (folder, entry.name)


def _head(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read(HEAD)


def _study_kind(head: bytes) -> str | None:
    kind = content_kind(head)
    return kind if kind in STUDY_KINDS else None
