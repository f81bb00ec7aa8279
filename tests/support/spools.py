"""A spool of the DICOM node with a clock that passes when told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside.listen.config import SpoolConfig, StudyRules
from scanside.listen.spool import Received, Spool
from scanside.listen.store import Store
from scanside.listen.studies import Claim, Studies
from scanside.writers.dicom.context import EncodedObject

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Place", "result"]


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A spool with its studies; `reopen` is what a killed process leaves to the next one."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.folder = folder
        self.clock = Clock()
        values = {"min_free_gb": 0.0, "max_gb": 1.0, **limits}
        self._config = SpoolConfig(
            folder=str(folder), max_gb=values["max_gb"], min_free_gb=values["min_free_gb"]
        )
        self._open()

    def _open(self) -> None:
        self.store = Store(self.folder)
        rules = StudyRules(quiet_seconds=10.0, deadline_seconds=100.0)
        self.spool = Spool(self.store, self._config, rules, self.clock)
        self.studies = Studies(
            self.store, self.spool, 100.0, {"pacs": ("sr", "seg"), "archive": ("sr",)}, self.clock
        )

    def reopen(self) -> int:
        """Close and open it; return the number of studies that are begun anew."""
        self.store.close()
        self._open()
        return self.spool.recover()

    def receive(self, uid: str, content: bytes = b"x", study: str | None = "1.2") -> str:
        """Accept an object."""
        received = Received("1.2.840.10008.5.1.4.1.1.4", uid, study, content, content.hex())
        return self.spool.accept(received)

    def claimed(self) -> Claim:
        """Claim a study that is due."""
        claim = self.studies.claim()
        assert claim is not None
        return claim

    def files(self) -> list[str]:
        """Return the names of all objects' files."""
        return sorted(
            path.relative_to(self.folder).as_posix()
            for name in ("received", "results")
            for path in (self.folder / name).rglob("*")
            if path.is_file()
        )


def result(number: int, *kinds: str) -> list[EncodedObject]:
    """Make a result of objects that are told apart by their number."""
    return [
        EncodedObject(
            kind,
            "1.2",
            f"1.5.{number}",
            f"1.3.{n}",
            f"1.4.{number}.{n}",
            f"{kind}.dcm",
            f"{kind}-{number}".encode(),
        )
        for n, kind in enumerate(kinds or ("sr",))
    ]
