"""The folder of a spool: this user's alone, one node's at a time, its names durable."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from typing import TYPE_CHECKING, Final

from scanside.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_private", "claimed", "make_private_folder", "sync_folder"]

_MAKING: Final = threading.Lock()
"""Whoever finds a folder there may take its name for durable."""


def make_private_folder(folder: Path) -> None:
    """Make a folder for this user alone, durably.

    Raises
    ------
    OutputError
        If it can't be made.
    """
    try:
        with _MAKING:
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, as a file's own fsync does not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_private(folder: Path) -> None:
    """Refuse a folder that others may look into.

    Raises
    ------
    OutputError
        If it is another user's, or its mode lets others in.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OutputError(
            f"{folder}: it is of user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}",
            accepted=f"of user {os.geteuid()}, mode 700: it holds patients' images",
            remedy="chown and chmod 700 it",
        )


def claimed(folder: Path) -> int:
    """Take a spool for this process, as long as the descriptor that is returned is open.

    Raises
    ------
    OutputError
        If another process has it.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise OutputError(
            f"{folder}: another node has this spool", remedy="stop it, or name another spool.folder"
        ) from None
    return descriptor
