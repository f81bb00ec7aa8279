"""Files written whole or not at all, and the output folder of a run."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scanside.errors import OutputError
from scanside.records import FOLDERS, RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["OutputFolder", "output_errors", "write_atomic"]

PAGE: Final = "index.html"

_OWNER: Final = 0o600
"""Permissions of what is made from images: the user's own, whatever the umask. They may show or
name a patient."""


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


def write_atomic(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that it is there whole or not at all, whenever the process ends.

    Not where the power does: what can be made again need not wait for the disk.

    Parameters
    ----------
    path
        The file; its folder is made if it is not there.
    content
        What to write.
    mode
        Permissions of a new file, less the umask's.

    Raises
    ------
    OutputError
        If it can't be written; nothing is left behind.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _create(part, mode) as file:
                file.write(content)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _create(path: Path, mode: int) -> BinaryIO:
    """Open a file that is not there yet."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb")


class OutputFolder:
    """Where a run writes, one run at a time: records, pictures, and results as DICOM and NIfTI.

    What it holds only its owner can read.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    overwrite
        Whether `clear` may remove results of an earlier run. Without it they are refused, so
        that one folder never holds the results of two runs.

    Raises
    ------
    OutputError
        If the folder can't be written to, which is tried before any work is done; if another
        run is writing to it; or if it holds results, or folders of those names that no run
        has made.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path: Final = path
        with output_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(b"\0" * 4096)
            self._lock = _locked(path)
        earlier = [found.name for found in self._earlier()]
        if earlier and not (overwrite and self.results.exists()):
            own = "give --overwrite to replace them" if self.results.exists() else "move them away"
            self.close()
            raise OutputError(
                f"{path} holds {', '.join(earlier)} already",
                accepted="a folder without results",
                remedy=f"name another --output, or {own}",
            )

    def close(self) -> None:
        """Let another run write to the folder."""
        os.close(self._lock)

    def check_apart(self, inputs: Iterable[Path]) -> None:
        """Refuse inputs that `clear` would remove.

        Raises
        ------
        OutputError
            If an input is one of the results of an earlier run, or lies in a folder of them.
        """
        earlier = [found.resolve() for found in self._earlier()]
        if not earlier:
            return
        for path in inputs:
            real = path.resolve()
            if any(real == found or found in real.parents for found in earlier):
                raise OutputError(
                    f"{path} lies in {self.path}, among what --overwrite removes",
                    accepted="inputs outside of the results of an earlier run",
                    remedy="name another --output, or move the input away",
                )

    def clear(self) -> None:
        """Remove the results of an earlier run; called once there is something to replace them."""
        with output_errors(self.path):
            for found in self._earlier():
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

    def open_results(self) -> BinaryIO:
        """Begin the file of records.

        Raises
        ------
        OutputError
            If it is there already or can't be written.
        """
        with output_errors(self.results):
            return _create(self.results, _OWNER)

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the folder atomically."""
        write_atomic(self.path / name, content, mode=_OWNER)

    def _earlier(self) -> list[Path]:
        names = (RESULTS, *FOLDERS, PAGE)
        return [self.path / name for name in names if (self.path / name).exists()]


def _locked(folder: Path) -> int:
    """Lock a folder for this run; the lock ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(
            f"another run is writing to {folder}",
            remedy="wait for it, or name another --output",
        ) from None
    return descriptor
