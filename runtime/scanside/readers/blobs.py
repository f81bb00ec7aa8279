"""Files of studies wherever they lie: on disk or in a zip, also in a zip in a zip.

Archives come from anywhere, so that everything about them is limited: members, sizes, the ratio
that a bomb betrays itself by, and how deep archives lie in each other.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.errors import InputError
from scanside.readers.containers import HEAD, describe
from scanside.readers.image import read_regular, source_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "MAX_STUDY_FILE_BYTES",
    "STUDY_KINDS",
    "Blob",
    "StudyFile",
    "content_kind",
    "members",
    "unzip_limited",
]

MAX_STUDY_FILE_BYTES: Final = 2**28
"""Largest DICOM or NIfTI file, 256 MiB: twice a series of the most voxels at 16 bits."""

_MAX_MEMBERS: Final = 100_000
_MAX_ARCHIVE_BYTES: Final = 2**32
"""Of all members of an archive on disk together, those of inner archives included, unpacked: 4 GiB,
over ten times a large study. One member is in memory at a time."""

_MAX_RATIO: Final = 200
"""Unpacked by packed size of a member above 1 MiB: a blank series reaches some tens, a bomb a
thousand."""

_RATIO_FROM: Final = 2**20
_MAX_DEPTH: Final = 3
_CHUNK: Final = 2**20

_GZIP: Final = b"\x1f\x8b"
_GZIP_CHUNK: Final = 2**16
"""What is handed over at once: what lies behind a member is copied with each."""

_MAX_GZIP_MEMBERS: Final = 2**16
"""Over ten times those that bgzip makes of the largest file, 64 KiB each."""


STUDY_KINDS: Final = ("DICOM", "NIfTI", "zip")
"""Contents that a study may be in."""


class StudyFile(NamedTuple):
    """A file on disk that a study may be in.

    Attributes
    ----------
    path
        The file.
    kind
        One of `STUDY_KINDS`, by its content.
    """

    path: Path
    kind: str


class Blob(NamedTuple):
    """A file whose bytes are read when they are wanted.

    Attributes
    ----------
    source
        What records and messages call it.
    path
        The file on disk: itself, or the archive that holds it.
    member
        Names inside archives, outermost first; empty for a file on disk.
    """

    source: str
    path: Path
    member: tuple[str, ...] = ()

    def read(self) -> bytes:
        """Read it whole.

        Raises
        ------
        InputError
            If it cannot be read or is larger than `MAX_STUDY_FILE_BYTES`.
        """
        if not self.member:
            return read_regular(self.path, self.source, limit=MAX_STUDY_FILE_BYTES)
        try:
            with zipfile.ZipFile(self.path) as archive:
                return _inner(archive, self.member)
        except _ARCHIVE_ERRORS as error:
            raise _damaged(self.source, error) from None


_ARCHIVE_ERRORS: Final = (
    OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What `zipfile` raises for damaged, encrypted and exotic archives."""


def content_kind(head: bytes) -> str:
    """Say what the first `HEAD` bytes of a file begin; looks into gzip for NIfTI.

    Returns
    -------
    str
        ``DICOM``, ``NIfTI``, ``zip``, or as `scanside.readers.containers.describe`.
    """
    if head.startswith(_GZIP):
        try:
            inside = zlib.decompressobj(wbits=31).decompress(head, HEAD)
        except zlib.error:
            return describe(head)
        if describe(inside) == "NIfTI":
            return "NIfTI"
    return describe(head)


def unzip_limited(data: bytes, source: str) -> bytes:
    """Unpack gzip, all its members in turn (RFC 1952, 2.2), up to `MAX_STUDY_FILE_BYTES`.

    Raises
    ------
    InputError
        If it is damaged, breaks off, is followed by something else than zeros, or unpacks to more.
    """
    parts: list[bytes] = []
    unpacker = zlib.decompressobj(wbits=31)
    at = size = 0
    count = 1
    while at < len(data):
        piece = data[at : at + _GZIP_CHUNK]
        if unpacker.eof:
            at += len(piece) - len(piece.lstrip(b"\0"))  # padding
            if at < len(data) and piece.strip(b"\0"):
                unpacker, count = zlib.decompressobj(wbits=31), count + 1
                piece = data[at : at + _GZIP_CHUNK]
            else:
                continue
        try:
            part = unpacker.decompress(piece, MAX_STUDY_FILE_BYTES + 1 - size)
        except zlib.error as error:
            raise _damaged(source, error) from None
        parts.append(part)
        size += len(part)
        if size > MAX_STUDY_FILE_BYTES or count > _MAX_GZIP_MEMBERS:
            raise InputError(
                f"{source}: unpacks to more than {MAX_STUDY_FILE_BYTES:,} bytes"
                f" or holds more than {_MAX_GZIP_MEMBERS:,} gzip members",
                accepted=f"files of up to {MAX_STUDY_FILE_BYTES:,} bytes",
            )
        at += len(piece) - len(unpacker.unused_data)
    if not unpacker.eof:
        raise InputError(f"{source}: the gzip stream breaks off", accepted="whole files")
    return b"".join(parts)


def members(path: Path) -> Iterator[tuple[Blob, str]]:
    """List the files in an archive, those of inner archives included.

    Parameters
    ----------
    path
        A zip file.

    Yields
    ------
    blob, kind
        Each file, and what `content_kind` says of it.

    Raises
    ------
    InputError
        If the archive is damaged, encrypted or beyond a limit.
    """
    source = source_name(path)
    budget = _Budget(source)
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _walk(archive, Blob(source, path), budget, depth=1)
    except _ARCHIVE_ERRORS as error:
        raise _damaged(source, error) from None


class _Budget:
    """What an archive may still unpack to."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._members = self._bytes = 0

    def spend(self, info: zipfile.ZipInfo) -> None:
        self._members += 1
        self._bytes += info.file_size
        bomb = info.file_size > _RATIO_FROM and info.file_size > _MAX_RATIO * max(
            1, info.compress_size
        )
        if bomb or self._members > _MAX_MEMBERS or self._bytes > _MAX_ARCHIVE_BYTES:
            raise InputError(
                f"{self._source}: the archive unpacks to more than a study has",
                accepted=f"up to {_MAX_MEMBERS:,} files, {_MAX_ARCHIVE_BYTES:,} bytes in all, and"
                f" {_MAX_RATIO} times the packed size",
                remedy="unpack it and give the folder",
            )


def _walk(
    archive: zipfile.ZipFile, at: Blob, budget: _Budget, depth: int
) -> Iterator[tuple[Blob, str]]:
    entries = [info for info in archive.infolist() if not info.is_dir()]
    if len({info.filename for info in entries}) < len(entries):  # a member is read by its name
        raise InputError(
            f"{at.source}: the archive holds several files of one name",
            accepted="archives in which each file has a name of its own",
            remedy="pack the study again with its folders, or give the folder",
        )
    for info in entries:
        budget.spend(info)
        blob = Blob(f"{at.source}/{info.filename}", at.path, (*at.member, info.filename))
        with archive.open(info) as file:
            kind = content_kind(file.read(HEAD))
        if kind != "zip":
            yield blob, kind
            continue
        if depth == _MAX_DEPTH:
            raise InputError(
                f"{at.source}: archives lie more than {_MAX_DEPTH} deep in each other",
                accepted=f"up to {_MAX_DEPTH}",
                remedy="unpack the innermost and give the folder",
            )
        with zipfile.ZipFile(io.BytesIO(_content(archive, info.filename))) as inner:
            yield from _walk(inner, blob, budget, depth + 1)


def _inner(archive: zipfile.ZipFile, names: tuple[str, ...]) -> bytes:
    content = _content(archive, names[0])
    if len(names) == 1:
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        return _inner(inner, names[1:])


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    """Unpack a member; the size that its header declares is a claim, not a fact."""
    parts, size = [], 0
    with archive.open(name) as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > MAX_STUDY_FILE_BYTES:
                raise InputError(
                    f"a member of the archive unpacks to more than {MAX_STUDY_FILE_BYTES:,} bytes",
                    accepted=f"files of up to {MAX_STUDY_FILE_BYTES:,} bytes",
                    remedy="unpack the archive and give the folder",
                )
            parts.append(chunk)
    return b"".join(parts)


def _damaged(source: str, error: Exception) -> InputError:
    # Only the kind of error: its text may quote what the file holds.
    return InputError(
        f"{source}: the archive cannot be read ({type(error).__name__})",
        accepted="whole zip and gzip files without encryption",
        remedy="unpack it and give the folder",
    )
