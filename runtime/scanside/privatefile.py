"""Files that are this user's alone: read without trusting anyone else, written whole or not."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked", "read_private", "replace_file"]

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def read_private(path: Path, limit: int) -> bytes:
    """Read a regular file of this user's that nobody else may write to; follow no link.

    Parameters
    ----------
    path
        The file.
    limit
        Bytes; at most one more is read, so that a longer file can be told.

    Raises
    ------
    OSError
        If it can't be read; `PermissionError` if it is another user's, or others may write to it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(0, "it is no regular file")
        if status.st_uid != os.geteuid():
            raise PermissionError(0, f"it belongs to user {status.st_uid}")
        if status.st_mode & _OTHERS_WRITE:
            raise PermissionError(0, f"others may write to it ({stat.S_IMODE(status.st_mode):o})")
        return file.read(limit + 1)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, for this user alone, so that it is there whole or not at all.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    content
        What to write.

    Raises
    ------
    OSError
        If it can't be written; the earlier file stays.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold a folder's lock, so that files that belong together are of one writer.

    Parameters
    ----------
    folder
        The folder.
    exclusive
        For writing.

    Raises
    ------
    OSError
        If there is no such folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Some network file systems have no locks; a mixed pair fails its hash then.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
