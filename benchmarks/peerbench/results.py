"""What was measured: one record a case and round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from peerbench.figures import Spread, percentile, spread

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Results"]


class Results:
    """All records so far, each also written as a JSON line when it comes.

    Parameters
    ----------
    file
        The JSON lines.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._records: list[dict[str, Any]] = []
        file.write_bytes(b"")

    def add(self, turn: int, case: str, **figures: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Add what a case said in a round."""
        record = {"round": turn, "case": case, **figures}
        self._records.append(record)
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")

    def has(self, case: str, *path: str) -> bool:
        """Tell whether a case has a figure."""
        return bool(self.values(case, *path))

    def values(self, case: str, *path: str) -> list[Any]:
        """Return a figure of a case, a value a round.

        Parameters
        ----------
        case
            Its short name.
        path
            Keys from the record to the figure; a record without them is left out.
        """
        found = []
        for record in self._records:
            value: Any = record if record["case"] == case else None
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found.append(value)
        return found

    def spread(self, case: str, *path: str) -> Spread:
        """Return the spread of a figure over the rounds."""
        return spread([float(value) for value in self.values(case, *path)])

    def medians(self, case: str, *path: str) -> list[float]:
        """Return each round's median of a list of samples."""
        return [spread(samples).median for samples in self.values(case, *path) if samples]

    def pooled(self, case: str, *path: str) -> list[float]:
        """Return the samples of all rounds."""
        return [sample for samples in self.values(case, *path) for sample in samples]

    def tail(self, case: str, *path: str) -> float:
        """Return the 99th percentile over the median, of the samples of all rounds."""
        samples = self.pooled(case, *path)
        return percentile(samples, 99) / percentile(samples, 50)
