"""What the library found out in a build and starts from in the next one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from scanside.cachefolder import cache_folder, entry_key, read_entry, write_entry
from scanside.enginematch import IMPLICIT

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.engines import EngineKey

__all__ = ["Kept", "calibration_cache", "timings"]


class Kept:
    """A file that a build may read and leaves behind.

    Parameters
    ----------
    folder
        Its folder in the cache.
    **parts
        Everything that it depends on.
    """

    def __init__(self, folder: str, **parts: str) -> None:
        self._folder, self._key = folder, entry_key(**parts)

    def give(self, file: Path) -> None:
        """Write what is kept for a build to start from."""
        if (kept := read_entry(cache_folder(self._folder), self._key)) is not None:
            file.write_bytes(kept)

    def take(self, file: Path) -> None:
        """Keep what a build has left."""
        with suppress(FileNotFoundError):
            write_entry(cache_folder(self._folder), self._key, file.read_bytes())


def timings(key: EngineKey) -> Kept:
    """Return timings of kernels: of one library on one device, for all models."""
    return Kept(
        "timing", runtime=key.runtime, version=key.runtime_version, gpu=key.gpu_name,
        capability=key.compute_capability,
    )  # fmt: skip


def calibration_cache(key: EngineKey) -> Kept:
    """Return INT8 ranges that a library chose: of one model, on the slices of its settings."""
    return Kept(
        "calibration", model=key.model_sha256, version=key.runtime_version,
        images=key.settings.get(IMPLICIT, "none"),
    )  # fmt: skip
