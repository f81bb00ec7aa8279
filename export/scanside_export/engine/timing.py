"""Timings of kernels, kept between builds: of one library on one device, for all models."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from scanside.cachefolder import cache_folder, entry_key, read_entry, write_entry

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.engines import EngineKey

__all__ = ["Timing"]


class Timing:
    """The kept timings of kernels.

    Parameters
    ----------
    key
        Of an engine; its library and its device count, its model does not.
    """

    def __init__(self, key: EngineKey) -> None:
        self._key = entry_key(
            runtime=key.runtime, version=key.runtime_version, gpu=key.gpu_name,
            capability=key.compute_capability,
        )  # fmt: skip

    def give(self, file: Path) -> None:
        """Write what is kept for a build to start from."""
        if (kept := read_entry(cache_folder("timing"), self._key)) is not None:
            file.write_bytes(kept)

    def take(self, file: Path) -> None:
        """Keep what a build has left."""
        with suppress(FileNotFoundError):
            write_entry(cache_folder("timing"), self._key, file.read_bytes())
