"""The types that readers, the pipeline and writers of studies share.

A reader makes a `Study`, the pipeline makes `Findings` of it, a writer makes files of those.

Two grids. Files have theirs: `Source.grid`, frames in the order of `Source.frames`. The models want
axial slices that lie as in their training data: columns count to the patient's left, rows to
posterior, slices to the head. `Study.grid` is the FLAIR's own grid with its axes exchanged and
turned until that holds as nearly as it can. No voxel is interpolated by it, so `View` leads back
exactly: `Study.on_source` gives a mask on the FLAIR's own frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from scanside.preprocess import Window
    from scanside.records import SliceResult
    from scanside.study.grid import Grid

__all__ = [
    "Findings",
    "FindingsStatus",
    "FrameReference",
    "Measures",
    "Note",
    "Source",
    "SourceKind",
    "Study",
    "View",
]

Scalar = TypeVar("Scalar", bound=np.generic)

SourceKind = Literal["dicom", "nifti"]

NoteKind = Literal["filled", "resampled", "reformatted", "coverage", "misregistered"]

FindingsStatus = Literal["ok", "indeterminate", "incomplete"]


class Note(NamedTuple):
    """Something that a reader of the results must know about how the study was made.

    Attributes
    ----------
    kind
        ``filled``: FLAIR stands in for a sequence that is missing, or that equals it.
        ``resampled``: a sequence was interpolated to the FLAIR's grid. ``reformatted``: the
        acquisition was not axial. ``coverage``: a sequence does not cover the FLAIR's field of
        view. ``misregistered``: a sequence seems to be shifted against FLAIR.
    sequence
        One of `scanside.preprocess.CHANNELS`.
    text
        A sentence; it names no patient attribute.
    """

    kind: NoteKind
    sequence: str
    text: str


class FrameReference(NamedTuple):
    """The frame of a file that holds a slice.

    Attributes
    ----------
    dataset
        Index into `Source.datasets`.
    frame
        Number of the frame from 1, as ReferencedFrameNumber (0008,1160); none for a
        single-frame file.
    """

    dataset: int
    frame: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The series that a sequence was read from.

    Attributes
    ----------
    sequence
        One of `scanside.preprocess.CHANNELS`.
    grid
        The series' own grid. Slice ``k`` is what ``frames[k]`` holds; slices follow each other
        along the right-handed normal of the frames (columns x rows).
    window
        The window that made 8 bits of the whole series' values (after rescale slope and
        intercept).
    pixel_sha256
        Hash, hexadecimal, of the series' values as decoded, slices in the order of the grid.
    datasets
        DICOM: the series' datasets without pixel data, decoded text; a multi-frame file is one.
        Empty for NIfTI.
    frames
        DICOM: where each slice of `grid` is. Empty for NIfTI.
    """

    sequence: str
    grid: Grid
    window: Window
    pixel_sha256: str
    datasets: tuple[Dataset, ...] = ()
    frames: tuple[FrameReference, ...] = ()


class View(NamedTuple):
    """How `Study.grid` lies on the FLAIR's own grid: axes exchanged, then turned.

    Attributes
    ----------
    axes
        Which axis of the source array (0 slices, 1 rows, 2 columns) each axis of the study's
        array is.
    turned
        Which axes of the study's array run against the source's.
    """

    axes: tuple[int, int, int]
    turned: tuple[bool, bool, bool]

    def apply(self, volume: NDArray[Scalar]) -> NDArray[Scalar]:
        """Bring an array of the source's shape to the study's shape; a view of the same memory."""
        moved: NDArray[Scalar] = volume.transpose(self.axes)[self._steps()]
        return moved

    def undo(self, volume: NDArray[Scalar]) -> NDArray[Scalar]:
        """Bring an array of the study's shape to the source's shape; a view of the same memory."""
        back = [int(axis) for axis in np.argsort(self.axes)]
        moved: NDArray[Scalar] = volume[self._steps()].transpose(back)
        return moved

    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if turned else 1) for turned in self.turned)


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Three sequences on one grid, ready for the models.

    Attributes
    ----------
    name
        What records call the study: the path that was given or found, never a patient attribute.
    kind
        What the files are.
    images
        uint8 ``[S, H, W, 3]``, last axis in the order of `scanside.preprocess.CHANNELS`; each
        series' values after its own window.
    grid
        The grid of `images` and of every mask: see the module.
    view
        How `grid` lies on the FLAIR's own grid.
    sources
        One for each sequence that was read; always one for FLAIR.
    filled
        The sequences that FLAIR stands in for.
    notes
        What results must say about how the study was made.
    """

    name: str
    kind: SourceKind
    images: NDArray[np.uint8]
    grid: Grid
    view: View
    sources: tuple[Source, ...]
    filled: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def flair(self) -> Source:
        """The series whose voxels masks are made of."""
        return next(source for source in self.sources if source.sequence == "FLAIR")

    def on_source(self, volume: NDArray[Scalar]) -> NDArray[Scalar]:
        """Bring an array on `grid` to the FLAIR's own grid, ``flair.grid.shape``, exactly."""
        return self.view.undo(volume)


class Measures(NamedTuple):
    """What the masks of a study measure.

    Attributes
    ----------
    volume_ml
        Voxels in the mask times the volume of a voxel, millilitres.
    diameter_mm
        Largest distance between the centres of two mask voxels of one slice; 0 without any.
    centroid_mm
        Mean of the mask voxels' centres in patient coordinates (x, y, z; LPS); none for an
        empty mask.
    slices
        Indices of the slices of `Study.grid` whose mask is not empty.
    """

    volume_ml: float
    diameter_mm: float
    centroid_mm: tuple[float, float, float] | None
    slices: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What the pipeline found in a study.

    Attributes
    ----------
    study
        The study.
    records
        One for each slice that was analysed, in the order of `Study.grid`; all, unless `status`
        is ``incomplete``.
    masks
        bool ``[S, H, W]`` on `Study.grid`; false in slices that were not segmented.
    status
        ``ok``; ``indeterminate``: a slice is, so that an empty mask proves nothing;
        ``incomplete``: stopped before the last slice.
    measures
        What the masks measure.
    """

    study: Study
    records: Sequence[SliceResult]
    masks: NDArray[np.bool_]
    status: FindingsStatus
    measures: Measures

    @property
    def found(self) -> bool:
        """Whether the algorithm outlined a region in any slice."""
        return bool(self.measures.slices)
