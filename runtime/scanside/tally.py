"""Sums over the slices of a study and of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside.postprocess import extent
from scanside.readers.image import source_name
from scanside.records import RunResult, StudyResult

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.bundle import Bundle
    from scanside.pipeline import Pipeline
    from scanside.runner import Analysed
    from scanside.study.grid import Spacing

__all__ = ["Tally"]

_MM3_PER_ML = 1000.0


class _Counts:
    def __init__(self) -> None:
        self.slices = self.positive = self.negative = 0
        self.indeterminate = self.rejected = self.segmented = self.area = 0

    def add(self, analysed: Analysed) -> None:
        record = analysed.record
        self.slices += 1
        self.positive += record.tumor is True
        self.negative += record.tumor is False
        self.indeterminate += record.status == "indeterminate"
        self.rejected += record.status == "rejected"
        self.segmented += record.segmented
        self.area += record.area_px or 0

    @property
    def classified(self) -> int:
        return self.slices - self.rejected


class Tally:
    """The counts of a run, by study and in all; memory grows with studies, not slices.

    Parameters
    ----------
    spacing
        Distances for millimetres and millilitres; none where they are not known.
    """

    def __init__(self, spacing: Spacing | None = None) -> None:
        self._spacing = spacing
        self._all = _Counts()
        self._studies: dict[str, _Counts] = {}
        self._diameters: dict[str, float] = {}
        self._last: Path | None = None
        self.files = 0
        """Files begun so far; a file of many pages counts once."""

    @property
    def slices(self) -> int:
        """Slices so far."""
        return self._all.slices

    @property
    def rejected(self) -> int:
        """Rejected slices so far."""
        return self._all.rejected

    @property
    def indeterminate(self) -> int:
        """Indeterminate slices so far."""
        return self._all.indeterminate

    def add(self, analysed: Analysed) -> None:
        """Count a slice; the slices of one folder, or of one multi-page file, are a study."""
        study = source_name(analysed.file if analysed.pages > 1 else analysed.file.parent)
        if analysed.file != self._last:
            self._last = analysed.file
            self.files += 1
        self._all.add(analysed)
        self._studies.setdefault(study, _Counts()).add(analysed)
        region = None if analysed.result is None else analysed.result.region
        if self._spacing is not None and region is not None and region.area:
            found = extent(region.mask, (self._spacing.row, self._spacing.column))
            self._diameters[study] = max(found, self._diameters.get(study, 0.0))

    def studies(self) -> list[StudyResult]:
        """Return a record for each study, in the order in which they began."""
        return [
            StudyResult(
                source=study,
                slices=counts.slices,
                positive=counts.positive,
                indeterminate=counts.indeterminate,
                rejected=counts.rejected,
                segmented=counts.segmented,
                area_px=counts.area,
                volume_ml=self._volume(counts.area),
                diameter_mm=None if self._spacing is None else self._diameters.get(study, 0.0),
            )
            for study, counts in self._studies.items()
        ]

    def run(
        self,
        *,
        bundle: Bundle,
        pipeline: Pipeline,
        seconds: float,
        interrupted: bool,
        left_out: dict[str, int],
    ) -> RunResult:
        """Return the record of the run."""
        counts = self._all
        classified = counts.classified
        return RunResult(
            slices=counts.slices,
            positive=counts.positive,
            negative=counts.negative,
            indeterminate=counts.indeterminate,
            rejected=counts.rejected,
            segmented=counts.segmented,
            skip_rate=1 - counts.segmented / classified if classified else None,
            indeterminate_rate=counts.indeterminate / classified if classified else None,
            left_out=left_out,
            seconds=round(seconds, 3),
            slices_per_second=round(counts.slices / seconds, 2) if seconds > 0 else None,
            interrupted=interrupted,
            bundle=bundle.label,
            bundle_sha256=bundle.manifest_sha256,
            backend=pipeline.backend.name,
            precision=pipeline.backend.precision,
            fallback=pipeline.fallback,
        )

    def _volume(self, area: int) -> float | None:
        if self._spacing is None or self._spacing.between_slices is None:
            return None
        voxel = self._spacing.row * self._spacing.column * self._spacing.between_slices
        return area * voxel / _MM3_PER_ML
