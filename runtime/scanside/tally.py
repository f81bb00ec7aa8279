"""Sums over the slices of a study and of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scanside.postprocess import extent
from scanside.records import RunResult, StudyResult
from scanside.study.measure import MM3_PER_ML

if TYPE_CHECKING:
    from scanside.bundle import Bundle
    from scanside.lanes import Analysed
    from scanside.pipeline import Pipeline
    from scanside.study.grid import Spacing

__all__ = ["Conclusion", "Tally"]


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


class _Study(_Counts):
    """The counts of a study, whose slices have the same spacing."""

    def __init__(self, spacing: Spacing | None) -> None:
        super().__init__()
        self._spacing = spacing
        self.diameter_mm = None if spacing is None else 0.0

    def add(self, analysed: Analysed) -> None:
        super().add(analysed)
        region = None if analysed.result is None else analysed.result.region
        if self._spacing is not None and region is not None and region.area:
            found = extent(region.mask, (self._spacing.row, self._spacing.column))
            self.diameter_mm = max(found, self.diameter_mm or 0.0)

    @property
    def volume_ml(self) -> float | None:
        if self._spacing is None or self._spacing.between_slices is None:
            return None
        voxel = self._spacing.row * self._spacing.column * self._spacing.between_slices
        return self.area * voxel / MM3_PER_ML


class Conclusion(NamedTuple):
    """What is known of a DICOM or NIfTI study once all of it is done; as in `StudyResult`."""

    centroid_mm: tuple[float, float, float] | None = None
    filled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


_Key: TypeAlias = tuple[int, str]
"""Number and name of a study."""


class Tally:
    """The counts of a run, by study and in all; memory grows with studies, not slices."""

    def __init__(self) -> None:
        self._all = _Counts()
        self._studies: dict[_Key, _Study] = {}
        self._conclusions: dict[_Key, Conclusion] = {}
        self._last = ""
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

    def add(self, number: int, analysed: Analysed) -> None:
        """Count a slice.

        Parameters
        ----------
        number
            Of its study; 0 for images, whose studies are told apart by name alone. A folder of
            images may also hold a DICOM study, which has its name.
        analysed
            The slice.
        """
        if analysed.record.source != self._last:
            self._last = analysed.record.source
            self.files += 1
        self._all.add(analysed)
        key = (number, analysed.study)
        self._studies.setdefault(key, _Study(analysed.spacing)).add(analysed)

    def conclude(self, number: int, study: str, conclusion: Conclusion) -> None:
        """Remember what the record of a study, of this number and name, says beyond its slices."""
        self._conclusions[number, study] = conclusion

    def studies(self) -> list[StudyResult]:
        """Return a record for each study, in the order in which they began."""
        return [
            StudyResult(
                source=key[1],
                slices=study.slices,
                positive=study.positive,
                indeterminate=study.indeterminate,
                rejected=study.rejected,
                segmented=study.segmented,
                area_px=study.area,
                volume_ml=study.volume_ml,
                diameter_mm=study.diameter_mm,
                **self._conclusions.get(key, Conclusion())._asdict(),
            )
            for key, study in self._studies.items()
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
