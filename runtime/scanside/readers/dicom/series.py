"""The files of a DICOM series to a volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scanside.discretion import refusing
from scanside.errors import InputError
from scanside.preprocess import Window
from scanside.readers.dicom.header import slice_thickness
from scanside.readers.dicom.pixels import decode_files
from scanside.readers.dicom.values import has_value, integer, text
from scanside.study.model import FrameReference
from scanside.study.reasons import refused
from scanside.study.stack import Plane, Stack, stack
from scanside.study.volume import MAX_VOXELS, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from scanside.readers.dicom.header import Frame, Header

__all__ = ["Series", "group_series"]


@dataclass(eq=False)
class Series:
    """The files of one series.

    Attributes
    ----------
    uid
        SeriesInstanceUID.
    headers
        Its files, in the order in which they were found, without copies.
    """

    uid: str
    headers: list[Header] = field(default_factory=list)

    @property
    def first(self) -> Header:
        """The file that stands for all."""
        return self.headers[0]

    @property
    def slices(self) -> int:
        """Number of frames in all files."""
        return sum(len(header.frames) for header in self.headers)

    def stack(self) -> Stack:
        """Put the frames in order.

        Raises
        ------
        InputError
            As for `scanside.study.stack.stack`, ``no geometry`` where a frame has none, ``duplicate
            instances`` where files that differ are one instance by their UID, and ``other frame of
            reference`` where they have several.
        """
        named = [header.instance_uid for header in self.headers if header.instance_uid]
        if len(set(named)) < len(named):
            raise refused(
                "duplicate instances",
                f"{len(named)} files have {len(set(named))} SOPInstanceUIDs, yet differ",
                accepted="a SOPInstanceUID for each, or copies with equal pixel data and place",
                remedy="export the series again, or leave out the copies",
            )
        if len({header.frame_of_reference_uid for header in self.headers}) > 1:
            raise refused(
                "other frame of reference",
                "the series' own slices cannot be related to each other",
                accepted="one FrameOfReferenceUID a series",
                remedy="export the series again",
            )
        planes = [_plane(header, frame) for header, frame, _ in self._frames()]
        with refusing(self.first.blob.source, "the slice thickness"):
            thickness = slice_thickness(self.first)
        return stack(
            planes,
            thickness=thickness,
            frame_of_reference=self.first.frame_of_reference_uid,
        )

    def references(self, order: Sequence[int]) -> tuple[FrameReference, ...]:
        """Say where each slice of a stack is, as indices into `headers`."""
        frames = self._frames()
        return tuple(FrameReference(frames[at][2], frames[at][1].number) for at in order)

    def read(self, ordered: Stack) -> Volume:
        """Decode the pixel data.

        Parameters
        ----------
        ordered
            What `stack` returned.

        Raises
        ------
        InputError
            If the pixel data are not accepted.
        """
        if int(np.prod(ordered.grid.shape)) > MAX_VOXELS:
            raise refused(
                "pixel data",
                f"{ordered.grid.shape} slices, rows and columns",
                accepted=f"up to {MAX_VOXELS:,} voxels a series",
            )
        inverted = self._inverted()
        sign = -1.0 if inverted else 1.0
        scales = sign * self._scales()[list(ordered.order)]
        window = self._window()
        if window is not None and inverted:
            window = Window(-window.high, -window.low)
        return Volume(
            stored=self._stored(ordered),
            slopes=scales[:, 0],
            intercepts=scales[:, 1],
            grid=ordered.grid,
            declared=window,
            padding=self._padding(),
        )

    def _frames(self) -> list[tuple[Header, Frame, int]]:
        return [
            (header, frame, at) for at, header in enumerate(self.headers) for frame in header.frames
        ]

    def _scales(self) -> NDArray[np.float64]:
        """Return slope and intercept of each frame, ``[frames, 2]``; 1 and 0 where none has any."""
        if any("ModalityLUTSequence" in header.dataset for header in self.headers):
            raise refused(
                "pixel data",
                "a ModalityLUTSequence gives the values' meaning by a table",
                accepted="RescaleSlope and RescaleIntercept, or stored values",
            )
        frames = [frame for _, frame, _ in self._frames()]
        scales = np.empty((len(frames), 2))
        for column, (name, absent, values) in enumerate((
            ("RescaleSlope", 1.0, [frame.slope for frame in frames]),
            ("RescaleIntercept", 0.0, [frame.intercept for frame in frames]),
        )):  # fmt: skip
            given = [value for value in values if value is not None]
            if len(given) not in (0, len(values)):
                raise refused(
                    "pixel data",
                    f"{len(given)} of {len(values)} slices have a {name}",
                    accepted="a scale for every slice, or for none",
                )
            scales[:, column] = given or absent
            if not np.isfinite(scales[:, column]).all():
                raise refused("pixel data", f"a {name} is no number", accepted="numbers")
        if not scales[:, 0].all():
            raise refused("pixel data", "RescaleSlope is 0", accepted="a slope that is not 0")
        return scales

    def _stored(self, ordered: Stack) -> NDArray[np.generic]:
        """Decode file after file into one array in the stack's order."""
        place = np.argsort(ordered.order)
        volume: NDArray[np.generic] | None = None
        at = 0
        for header, pixels in zip(self.headers, decode_files(self.headers), strict=True):
            if volume is None:
                volume = np.empty(ordered.grid.shape, pixels.dtype)
            count = len(header.frames)
            if pixels.dtype != volume.dtype or pixels.shape != (count, *volume.shape[1:]):
                raise refused(
                    "pixel data",
                    "files of the series differ in depth, sign or frames",
                    accepted="one kind of pixels a series",
                )
            volume[place[at : at + count]] = pixels
            at += count
        if volume is None:
            raise refused("pixel data", "the series has no frame", accepted="images")
        return volume

    def _inverted(self) -> bool:
        with refusing(self.first.blob.source, "the photometric interpretation"):
            kinds = {text(each.dataset, "PhotometricInterpretation") for each in self.headers}
        if len(kinds) > 1:
            raise refused(
                "pixel data",
                "some slices are MONOCHROME1, others MONOCHROME2",
                accepted="one photometric interpretation a series",
            )
        return kinds == {"MONOCHROME1"}

    def _window(self) -> Window | None:
        windows = {frame.window for _, frame, _ in self._frames()}
        return windows.pop() if len(windows) == 1 else None

    def _padding(self) -> tuple[int, int] | None:
        """Return the stored values that mean no measurement, the least and the greatest."""
        with refusing(self.first.blob.source, "the padding value"):
            found = {_padding(header.dataset) for header in self.headers}
        if len(found) > 1:
            raise refused(
                "pixel data",
                "slices differ in PixelPaddingValue or PixelPaddingRangeLimit",
                accepted="one padding value or range a series",
            )
        return found.pop() if found else None


def group_series(headers: Sequence[Header]) -> tuple[list[Series], int]:
    """Group files by series, in the order in which they were found.

    Returns
    -------
    series
        Each without copies; a file that is no copy of the one whose SOPInstanceUID it has stays,
        for `Series.stack` to refuse.
    copies
        How many files were instances that were there already.
    """
    found: dict[str, Series] = {}
    seen: dict[tuple[str, str], Header] = {}
    copies = 0
    for header in headers:
        if header.instance_uid:
            known = seen.setdefault((header.series_uid, header.instance_uid), header)
            if known is not header and _same(known, header):
                copies += 1
                continue
        found.setdefault(header.series_uid, Series(header.series_uid)).headers.append(header)
    return list(found.values()), copies


def _same(one: Header, other: Header) -> bool:
    """Tell whether two files hold the same frames at the same places: by bytes, not decoded."""
    if (one.frames, one.rows, one.columns, one.frame_of_reference_uid) != (
        other.frames, other.rows, other.columns, other.frame_of_reference_uid,
    ):  # fmt: skip
        return False
    try:
        return one.blob.read()[one.pixels_at :] == other.blob.read()[other.pixels_at :]
    except InputError:  # it has gone or changed since: nothing says that it was a copy
        return False


def _plane(header: Header, frame: Frame) -> Plane:
    missing = [
        name
        for name, value in (
            ("ImagePositionPatient", frame.position),
            ("ImageOrientationPatient", frame.orientation),
            ("PixelSpacing", frame.spacing),
        )
        if value is None
    ]
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        where = "the functional groups hold" if header.enhanced else "the file holds"
        raise refused(
            "no geometry",
            f"{where} no {' and no '.join(missing)}",
            accepted="slices whose place in the patient is known",
            remedy="export the series from the scanner, not as screenshots or converted files",
        )
    return Plane(frame.position, frame.orientation, frame.spacing, (header.rows, header.columns))


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    keywords = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    given = [keyword for keyword in keywords if has_value(dataset, keyword)]
    ends = [end for keyword in given if (end := integer(dataset, keyword)) is not None]
    if len(ends) < len(given) or given == ["PixelPaddingRangeLimit"]:
        raise refused(
            "pixel data",
            "a PixelPaddingRangeLimit without a PixelPaddingValue, or one that is no whole number",
            accepted="a padding value, alone or with the limit of its range",
        )
    return (min(ends), max(ends)) if ends else None
