"""Where a bundle's files are: a folder or a zip, read by bare names within a size limit."""

from __future__ import annotations

import stat
import zipfile
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from scanside.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MANIFEST", "BundleStore", "bundle_store"]

MANIFEST: Final = "manifest.json"


class BundleStore(Protocol):
    """Where a bundle's files are: a folder or a zip."""

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's content; refuse one of more than `limit` bytes."""


def bundle_store(path: Path) -> BundleStore:
    """Return the store at a path; raises `BundleError` if there is none."""
    try:
        if path.is_dir():
            return _Folder(path)
        if path.is_file():
            return _Zip(path)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from None
    raise BundleError(
        f"{path}: no bundle is there",
        accepted=f"a folder or a .zip that holds {MANIFEST}",
        remedy="name one with --bundle, or leave it out for the default bundle",
    )


class _Folder:
    """A bundle's folder; a link out of it is refused."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str, limit: int) -> bytes:
        file = self._path / name
        try:
            if file.resolve().parent != self._path.resolve():
                raise BundleError(f"{file} leads out of the bundle", accepted="files in its folder")
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{file} is no regular file", accepted="files in its folder")
            if status.st_size > limit:
                raise _too_large(str(file), status.st_size, limit)
            return file.read_bytes()
        except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before 3.13
            raise BundleError(
                f"{file}: {getattr(error, 'strerror', None) or error}",
                accepted=f"a folder or a .zip that holds {MANIFEST} and the files it names",
                remedy="fetch the bundle again",
            ) from None


class _Zip:
    """A bundle's zip: flat, without doubles, never unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str, limit: int) -> bytes:
        try:
            with zipfile.ZipFile(self._path) as archive:
                found = [entry for entry in archive.infolist() if entry.filename == name]
                if len(found) != 1:
                    raise BundleError(
                        f"{self._path}: the zip holds {len(found)} files named {name}",
                        accepted=f"one, at its top level, beside {MANIFEST}",
                    )
                if found[0].compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                    raise BundleError(
                        f"{self._path}: {name} has compression {found[0].compress_type}",
                        accepted="stored and deflated files",
                    )
                if found[0].file_size > limit:
                    raise _too_large(f"{self._path}: {name}", found[0].file_size, limit)
                return archive.read(found[0])
        # RuntimeError: an encrypted entry; NotImplementedError: an unknown compression.
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise BundleError(
                f"{self._path}: {error}",
                accepted="a folder or a .zip that holds a bundle",
                remedy="fetch the bundle again",
            ) from None


def _too_large(what: str, size: int, limit: int) -> BundleError:
    return BundleError(
        f"{what} has {size} bytes",
        accepted=f"{limit} bytes",
        remedy="the file is damaged: fetch the bundle again",
    )
