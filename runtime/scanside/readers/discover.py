"""Which files a run is about: the images that were named and those in folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError
from scanside.readers.containers import HEAD, describe, recognise
from scanside.readers.image import source_name
from scanside.readers.structure import ACCEPTED
from scanside.records import FOLDERS, RESULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """

    files: tuple[Path, ...]
    left_out: dict[str, int]
    unreadable: tuple[tuple[Path, str], ...] = ()


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sorting key under which numbers in names count as numbers."""
    parts = _DIGITS.split(name)  # text and digits by turns, beginning with text
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], name


def discover(inputs: Sequence[Path]) -> Discovery:
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

    Raises
    ------
    InputError
        If nothing was found, because one of `inputs` does not exist, is a folder that cannot
        be read, or is a folder without an image. Beside other inputs such a one is `unreadable`.
    """
    search = _Search()
    first: InputError | None = None
    for path in inputs:
        try:
            search.named(path)
        except InputError as error:  # noqa: PERF203 - what was named, not what was found
            first = first or error
            search.unreadable.append((path, str(error).removeprefix(f"{path}: ")))
    if first is not None and not search.files:
        raise first
    left_out = {reason: number for reason, number in search.left_out.items() if number}
    return Discovery(tuple(search.files.values()), left_out, tuple(search.unreadable))


class _Search:
    """What has been found so far."""

    def __init__(self) -> None:
        self.files: dict[_Key, Path] = {}
        self.left_out: Counter[str] = Counter()
        self.unreadable: list[tuple[Path, str]] = []
        self._folders: set[_Identity] = set()

    def named(self, path: Path) -> None:
        """Take what the user named: a file as it is, a folder for the images in it."""
        try:
            if path.is_dir():
                self._tree(path)
            else:
                self._take(path, _key(path))
        except OSError as error:
            raise InputError(
                f"{source_name(path)}: cannot be read ({error.strerror})",
                accepted="files and folders that exist and may be read",
                remedy="check the path and the permissions",
            ) from error

    def _take(self, path: Path, key: _Key) -> None:
        """Take a file, unless it is an input already."""
        if key in self.files:
            self.left_out[_TWICE] += 1
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
            raise InputError(
                f"{source_name(top)}: there is no image in this folder ({others or 'it is empty'})",
                accepted=ACCEPTED,
                remedy="name the folder that holds the slices",
            )

    def _found(self) -> int:
        """Count what was found, new or not."""
        again = self.left_out[_TWICE] + self.left_out[_AGAIN]
        return len(self.files) + len(self.unreadable) + again

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
        images, folders = self._sort(entries, identity)
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
        """Tell images, by name, and folders from what is left out."""
        images, folders = {}, []
        for entry in entries:
            try:
                reason = _reason(entry)
                if reason is not None:
                    self.left_out[reason] += 1
                elif entry.is_dir():
                    folders.append(Path(entry.path))
                else:
                    linked = entry.is_symlink()
                    images[entry.name] = _key(entry.path) if linked else (folder, entry.name)
            except OSError as error:  # noqa: PERF203 -- one bad entry must not hide the others
                self._unreadable(Path(entry.path), error)
        return images, folders


def _identity(folder: Path) -> _Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _key(path: str | Path) -> _Key:
    real = Path(os.path.realpath(path, strict=True))
    return _identity(real.parent), real.name


def _stem(name: str) -> str:
    """Return a name without its suffix; as `Path.stem`, which is slow for 100,000 names."""
    return name.rpartition(".")[0] or name


def _reason(entry: os.DirEntry[str]) -> str | None:
    """Say why an entry is left out; nothing for images and folders."""
    if entry.name.startswith("."):
        return "hidden files and folders"
    if entry.is_dir():
        return None
    if not entry.is_file():
        return "special files and broken links"
    if entry.name[len(_stem(entry.name)) :].lower() in IMAGE_SUFFIXES:
        return None
    with Path(entry.path).open("rb", buffering=0) as file:
        head = file.read(HEAD)
    return None if recognise(head) else f"{describe(head)} files"
