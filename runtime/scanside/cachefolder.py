"""The folder where scanside keeps what it can make again: hashed before every use.

An entry is a file with a JSON sidecar that holds its sha256. A library that is handed a damaged
file of its own format may take it and compute something else, or end the process, so an entry
that is not exactly what was written is never handed out: it counts as absent, which is said on
the log, and whoever asked makes it again. Hashes show damage, not who wrote a file, so files
and folders of other users, or that others may write to, are not taken either.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from scanside.privatefile import locked, read_private, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EntrySidecar", "cache_folder", "entry_key", "read_entry", "write_entry"]

ENTRY_SCHEMA: Final = "scanside.cache/1"

_LOG: Final = logging.getLogger(__name__)
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""What a key may be: a bare file name, with room for a suffix below the usual 255 bytes."""

_PRIVATE: Final = 0o700
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_SIDECAR_LIMIT: Final = 1 << 20
"""Bytes; a sidecar is some hundred."""


class EntrySidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of an entry; the key, so that a file under another's name is refused."""

    key: str
    sha256: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    about: dict[str, str]
    schema: Literal["scanside.cache/1"] = ENTRY_SCHEMA


def cache_folder(*parts: str) -> Path | None:
    """Return the cache folder, or a folder in it; made, for this user alone, if it is not there.

    It is ``$SCANSIDE_CACHE``, else ``$XDG_CACHE_HOME/scanside``, else ``~/.cache/scanside``. An
    empty ``SCANSIDE_CACHE`` turns caching off.

    Parameters
    ----------
    *parts
        Names of folders below it.

    Returns
    -------
    Path or None
        None where there is no such folder that is this user's own and can be written: caching
        is off then, which is said once on the log and is never an error.

    References
    ----------
    XDG Base Directory Specification 0.8: a variable that is empty or holds a relative path
    counts as not set.
    """
    if os.environ.get("SCANSIDE_CACHE") == "":
        return None  # asked for
    try:
        root = _root()
        folder = root.joinpath(*parts)
        root.parent.mkdir(parents=True, exist_ok=True)
        for made in (root, *(root.joinpath(*parts[: n + 1]) for n in range(len(parts)))):
            made.mkdir(mode=_PRIVATE, exist_ok=True)
            _check_own(made.stat(), made)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder}: not writable")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder is known
        _say_once(
            f"scanside: caching is off, starting takes longer: {error};"
            " name a folder of yours with SCANSIDE_CACHE"
        )
        return None
    return folder


def entry_key(**parts: str) -> str:
    """Return a key that is another one as soon as any of the parts is.

    Parameters
    ----------
    **parts
        Everything that an entry depends on, by name.
    """
    return hashlib.sha256(msgspec.json.encode(sorted(parts.items()))).hexdigest()


def read_entry(folder: Path | None, key: str) -> bytes | None:
    """Return an entry exactly as it was written.

    Parameters
    ----------
    folder
        From `cache_folder`; none where caching is off.
    key
        The key it was written with.

    Returns
    -------
    bytes or None
        None if there is no such entry, or if it can't be trusted: damaged, cut, another
        user's, open to others' writing. The latter is said on the log.
    """
    _check_key(key)
    if folder is None:
        return None
    try:
        with locked(folder):
            sidecar = msgspec.json.decode(
                read_private(_sidecar(folder, key), _SIDECAR_LIMIT), type=EntrySidecar
            )
            content = read_private(_content(folder, key), sidecar.size)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _LOG.warning("scanside: cache entry %s is not used: %s", _content(folder, key), error)
        return None
    found = hashlib.sha256(content).hexdigest()
    if (sidecar.schema, sidecar.key, sidecar.sha256) != (ENTRY_SCHEMA, key, found):
        _LOG.warning(
            "scanside: cache entry %s is damaged and is not used: its sha256 is %s; its sidecar"
            " says %s of %s (%s)",
            _content(folder, key), found, sidecar.sha256, sidecar.key, sidecar.schema,
        )  # fmt: skip
        return None
    return content


def write_entry(
    folder: Path | None, key: str, content: bytes, about: Mapping[str, str] | None = None
) -> bool:
    """Keep an entry; one of the same key is replaced.

    Parameters
    ----------
    folder
        From `cache_folder`; none where caching is off.
    key
        A bare file name, for instance from `entry_key`.
    content
        What to keep.
    about
        What it is, for whoever looks into the folder; kept in the sidecar.

    Returns
    -------
    bool
        Whether it is kept. Where it could not be, that is said once on the log.
    """
    _check_key(key)
    if folder is None:
        return False
    digest = hashlib.sha256(content).hexdigest()
    sidecar = EntrySidecar(key=key, sha256=digest, size=len(content), about=dict(about or {}))
    encoded = msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n"
    try:
        with locked(folder, exclusive=True):
            _check_own(folder.stat(), folder)
            # The sidecar last: without the one that belongs to it a content is no entry.
            replace_file(_content(folder, key), content)
            replace_file(_sidecar(folder, key), encoded)
    except OSError as error:
        _say_once(f"scanside: {folder}: nothing is kept there: {error.strerror or error}")
        return False
    return True


def _root() -> Path:
    if named := os.environ.get("SCANSIDE_CACHE"):
        return Path(named).absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "scanside"


def _content(folder: Path, key: str) -> Path:
    return folder / f"{key}.bin"


def _sidecar(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key: accepted: letters, digits, '.', '_', '-'")


def _check_own(status: os.stat_result, path: Path) -> None:
    """Refuse what another user owns or may write to."""
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}")
    if status.st_mode & _OTHERS_WRITE:
        raise PermissionError(
            f"{path} has the mode {stat.S_IMODE(status.st_mode):o}: others may write to it"
        )


@cache
def _say_once(message: str) -> None:
    _LOG.warning("%s", message)
