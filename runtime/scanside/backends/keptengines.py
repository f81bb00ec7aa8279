"""Folders in which another library keeps engines, hashed by us before it may read them.

Deserialising an engine may run code that is in it, and ONNX Runtime loads whatever lies in the
folder that it is given. So a model has a folder of its own, a list of its files' hashes is kept
when a session is ready, and before the next one everything that is not exactly as listed is
removed: then it is built again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from scanside.cachefolder import cache_folder, entry_key, read_entry, write_entry
from scanside.privatefile import locked, read_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["kept_engines"]

_FOLDER: Final = "ort-trt"
_LIMIT: Final = 1 << 32
"""Bytes; an engine of full-size models has some ten million."""

_PRIVATE: Final = 0o600
_LOG: Final = logging.getLogger(__name__)


@contextmanager
def kept_engines(about: Mapping[str, str]) -> Iterator[Path | None]:
    """Give the folder of a model's engines, and list what is in it once the block has ended.

    Parameters
    ----------
    about
        Everything that the engines depend on.

    Yields
    ------
    Path or None
        The folder, with nothing in it that was not listed before; none where caching is off.
    """
    key = entry_key(**about)
    lists, folder = cache_folder(_FOLDER), cache_folder(_FOLDER, key)
    if lists is None or folder is None:
        yield None
        return
    # Another process waits: what this one builds serves both.
    with locked(folder, exclusive=True):
        _remove_unlisted(folder, _listed(lists, key))
        yield folder
        # Not reached after an error: a half-written engine is never listed.
        found = {file.name: _own(file) for file in folder.iterdir() if file.is_file()}
        write_entry(lists, key, msgspec.json.encode(found), about)


def _listed(lists: Path, key: str) -> dict[str, str]:
    content = read_entry(lists, key)
    if content is None:
        return {}
    try:
        return msgspec.json.decode(content, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _remove_unlisted(folder: Path, listed: Mapping[str, str]) -> None:
    for file in folder.iterdir():
        try:
            same = listed.get(file.name) == _sha256(file)
        except OSError:
            same = False
        if not same:
            _LOG.warning("scanside: %s is not what was kept there: it is built again", file)
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink()


def _own(file: Path) -> str:
    """Keep others from writing to a file, whatever this process's mask; return its hash."""
    file.chmod(_PRIVATE)
    return _sha256(file)


def _sha256(file: Path) -> str:
    return hashlib.sha256(read_private(file, _LIMIT)).hexdigest()
