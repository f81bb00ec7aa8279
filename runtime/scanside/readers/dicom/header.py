"""What the header of a DICOM file says: which study and series it is of, and what a frame is.

Classic files hold a frame each; enhanced ones hold many, whose geometry lies in functional groups
(PS3.3 C.7.6.16), once for all frames (shared) or frame by frame.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.discretion import refusing
from scanside.errors import ExtraNotInstalledError, InputError
from scanside.preprocess import Window
from scanside.readers.dicom.meta import broken_off, check_meta
from scanside.readers.dicom.preamble import no_file
from scanside.readers.dicom.values import has_value, integer, item, number, numbers, text, texts
from scanside.readers.dicom.whole import Encoding, pixel_data_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from pydicom import Dataset

    from scanside.readers.blobs import Blob

__all__ = [
    "Frame",
    "Header",
    "Sop",
    "load",
    "load_pixels",
    "read_header",
    "require_pydicom",
    "slice_thickness",
]

MAX_FRAMES: Final = 4096
"""Frames of a file: over ten times the slices of a brain at 0.5 mm."""

_PREFIX: Final = b"DICM"
_PREFIX_AT: Final = 128
_DESCRIBING_PIXELS: Final = 0x0028


class Sop:
    """SOP Class UIDs that matter here (PS3.4 B.5)."""

    MR: Final = "1.2.840.10008.5.1.4.1.1.4"
    ENHANCED_MR: Final = "1.2.840.10008.5.1.4.1.1.4.1"
    LEGACY_MR: Final = "1.2.840.10008.5.1.4.1.1.4.4"
    IMAGES: Final = (MR, ENHANCED_MR, LEGACY_MR)
    ENHANCED: Final = (ENHANCED_MR, LEGACY_MR)
    SECONDARY_CAPTURES: Final = "1.2.840.10008.5.1.4.1.1.7"
    SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
    REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
    DICOMDIR: Final = "1.2.840.10008.1.3.10"


class Frame(NamedTuple):
    """One slice as its header describes it.

    Attributes
    ----------
    number
        From 1, in a file of several frames; none in a classic file.
    position, orientation
        ImagePositionPatient, ImageOrientationPatient; none where absent.
    spacing
        PixelSpacing: between rows, between columns.
    slope, intercept
        Of the modality's scale; none where absent, NaN where what is there is no number.
    window
        The linear window as lowest and highest intensity shown; none where there is none.
    """

    number: int | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    window: Window | None


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What a file says about itself.

    Attributes
    ----------
    blob
        The file.
    dataset
        Its elements without pixel data, file meta information included.
    sop_class, study_uid, series_uid, instance_uid, frame_of_reference_uid
        UIDs; empty where absent.
    frames
        One for each frame.
    rows, columns
        Matrix.
    pixels_at
        Where in the file its pixel data begin, or where the file ends.
    """

    blob: Blob
    dataset: Dataset
    sop_class: str
    study_uid: str
    series_uid: str
    instance_uid: str
    frame_of_reference_uid: str
    rows: int
    columns: int
    frames: tuple[Frame, ...]
    pixels_at: int

    @property
    def enhanced(self) -> bool:
        """Whether geometry lies in functional groups."""
        return self.sop_class in Sop.ENHANCED


def require_pydicom() -> ModuleType:
    """Import pydicom.

    Raises
    ------
    ExtraNotInstalledError
        If it is not there.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ExtraNotInstalledError("DICOM input", package="pydicom", extra="dicom") from error
    return pydicom


def load(data: bytes, source: str) -> Dataset:
    """Parse a DICOM file that is in memory, pixel data included.

    Parameters
    ----------
    data
        The whole file.
    source
        What to call it.

    Raises
    ------
    InputError
        If it is no DICOM file, is deflated, or cannot be parsed.
    """
    return _parse(data, source, pixels=True)[0]


def _parse(data: bytes, source: str, *, pixels: bool) -> tuple[Dataset, int]:
    """Parse a file; return it, and where the parser stopped."""
    pydicom = require_pydicom()
    if data[_PREFIX_AT : _PREFIX_AT + 4] != _PREFIX:
        raise no_file(data, source)
    buffer = io.BytesIO(data)
    with refusing(source, "the file"):
        check_meta(buffer, source)
        buffer.seek(0)
        dataset: Dataset = pydicom.dcmread(buffer, stop_before_pixels=not pixels)
        at = buffer.tell()
        # Where a value of undefined length has no end, pydicom drops every element of the dataset
        # and only warns; what it warns of can't be told apart from what other threads meet.
        lost = not dataset or (
            "PixelData" not in dataset if pixels else _lacks_pixels(dataset, data, at)
        )
    if lost:
        raise broken_off(source)
    return dataset, at


def load_pixels(data: bytes, header: Header) -> Dataset:
    """Parse the pixel data of a file whose header is there.

    Parameters
    ----------
    data
        The whole file.
    header
        What `read_header` made of it.

    Returns
    -------
    Dataset
        A new one: what describes the pixel data, and they.

    Raises
    ------
    InputError
        If the pixel data are not there, or not whole: the file has changed since.
    """
    from pydicom.filereader import read_dataset

    source = header.blob.source
    buffer = io.BytesIO(data)
    buffer.seek(header.pixels_at)
    with refusing(source, "the pixel data"):
        encoding = _encoding(header.dataset)
        if not pixel_data_whole(data, header.pixels_at, encoding):
            raise broken_off(source)
        found = read_dataset(buffer, encoding.implicit, encoding.little)
        if "PixelData" not in found:
            raise broken_off(source)
        dataset = header.dataset.group_dataset(_DESCRIBING_PIXELS)
        dataset.update(found)
        dataset.file_meta = header.dataset.file_meta
    return dataset


def read_header(blob: Blob) -> Header:
    """Read a file's header.

    Raises
    ------
    InputError
        If the file cannot be read or parsed, or declares more frames than are accepted.
    """
    dataset, pixels_at = _parse(blob.read(), blob.source, pixels=False)
    with refusing(blob.source, "the header"):
        sop_class = text(dataset, "SOPClassUID")
        return Header(
            blob=blob,
            dataset=dataset,
            sop_class=sop_class,
            study_uid=text(dataset, "StudyInstanceUID"),
            series_uid=text(dataset, "SeriesInstanceUID"),
            instance_uid=text(dataset, "SOPInstanceUID"),
            frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
            rows=integer(dataset, "Rows") or 0,
            columns=integer(dataset, "Columns") or 0,
            frames=_frames(dataset, sop_class, blob.source),
            pixels_at=pixels_at,
        )


def _lacks_pixels(dataset: Dataset, data: bytes, at: int) -> bool:
    """Tell whether an image's pixel data, which begin here, are not all in the file."""
    if text(dataset, "SOPClassUID") not in ("", *Sop.IMAGES):
        return False
    return not pixel_data_whole(data, at, _encoding(dataset))


def _encoding(dataset: Dataset) -> Encoding:
    implicit, little = dataset.original_encoding
    return Encoding(implicit=bool(implicit), little=little is not False)


def _frames(dataset: Dataset, sop_class: str, source: str) -> tuple[Frame, ...]:
    if sop_class not in Sop.IMAGES:
        return ()
    count = integer(dataset, "NumberOfFrames") or 1
    if not 1 <= count <= MAX_FRAMES:
        raise InputError(
            f"{source}: the file declares {count} frames", accepted=f"1 to {MAX_FRAMES} frames"
        )
    if sop_class == Sop.MR:
        if count > 1:
            raise InputError(
                f"{source}: a classic MR file declares {count} frames",
                accepted="one frame, or an enhanced file whose functional groups place each",
            )
        return (_frame(None, lambda _: dataset),)
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    each = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if len(each) not in (0, count):
        raise InputError(
            f"{source}: {len(each)} functional groups describe {count} frames",
            accepted="one for each frame",
        )
    return tuple(_enhanced(at + 1, each[at] if each else None, shared) for at in range(count))


def _enhanced(number_: int, own: Dataset | None, shared: Dataset | None) -> Frame:
    return _frame(number_, lambda keyword: item(own, keyword) or item(shared, keyword))


def _frame(number_: int | None, group: Callable[[str], Dataset | None]) -> Frame:
    """Describe a frame; `group` gives the dataset that holds a functional group's elements."""
    scale = group("PixelValueTransformationSequence")
    return Frame(
        number=number_,
        position=numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=numbers(group("PixelMeasuresSequence"), "PixelSpacing", 2),
        slope=_scale(scale, "RescaleSlope"),
        intercept=_scale(scale, "RescaleIntercept"),
        window=_window(group("FrameVOILUTSequence")),
    )


def _scale(dataset: Dataset | None, keyword: str) -> float | None:
    value = number(dataset, keyword)
    return math.nan if value is None and has_value(dataset, keyword) else value


def slice_thickness(header: Header) -> float | None:
    """Return how far apart the first frame's slices lie, or how thick they are, in millimetres."""
    group: Dataset | None = header.dataset
    if header.enhanced:
        each = item(header.dataset, "PerFrameFunctionalGroupsSequence", "PixelMeasuresSequence")
        shared = item(header.dataset, "SharedFunctionalGroupsSequence", "PixelMeasuresSequence")
        group = each or shared
    return number(group, "SpacingBetweenSlices") or number(group, "SliceThickness")


def _window(dataset: Dataset | None) -> Window | None:
    """Return the first linear window (PS3.3 C.11.2.1.2) as the values that end it."""
    if dataset is None or dataset.get("VOILUTSequence"):
        return None
    centre, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    function = (texts(dataset, "VOILUTFunction") or ("LINEAR",))[0] or "LINEAR"
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        return None
    return Window(centre - width / 2, centre + width / 2) if width > 0 else None
