"""Files written whole or not at all, and the output folder of a run."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scanside.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OutputFolder", "output_errors", "write_atomic"]

RESULTS: Final = "results.jsonl"
MASKS: Final = "masks"
OVERLAYS: Final = "overlays"
PAGE: Final = "index.html"


@contextmanager
def output_errors(what: str | Path) -> Iterator[None]:
    """Turn the system's errors about a place to write into `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{what}: {error.strerror or error}",
            remedy="free space or give write permission, or name another --output",
        ) from error


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Parameters
    ----------
    path
        The file; its folder is made if it is not there.
    content
        What to write.

    Raises
    ------
    OutputError
        If it can't be written; nothing is left behind.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            part.chmod(0o666 & ~_umask())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


class OutputFolder:
    """Where a run writes: ``results.jsonl``, ``masks/`` and ``overlays/``.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    overwrite
        Whether results of an earlier run are removed first. Without it they are refused, so
        that one folder never holds the results of two runs.

    Raises
    ------
    OutputError
        If the folder can't be written to, which is tried before any work is done, or holds
        results already.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path: Final = path
        with output_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(b"\0" * 4096)
            earlier = [
                path / name for name in (RESULTS, MASKS, OVERLAYS, PAGE) if (path / name).exists()
            ]
            if earlier and not overwrite:
                raise OutputError(
                    f"{path} holds results already ({', '.join(p.name for p in earlier)})",
                    accepted="a folder without results",
                    remedy="name another --output, or give --overwrite to replace them",
                )
            for found in earlier:
                if found.is_dir():
                    shutil.rmtree(found)
                else:
                    found.unlink()

    @property
    def results(self) -> Path:
        """The file of records."""
        return self.path / RESULTS

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.path / PAGE

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the folder atomically."""
        write_atomic(self.path / name, content)


def _umask() -> int:
    # There is no way to read it without setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
