"""Pixel data to arrays: one pinned decoder a transfer syntax, sizes checked before it runs.

RLE is decoded by pydicom, JPEG 2000 by pylibjpeg-openjpeg, JPEG-LS by pyjpegls, JPEG Lossless by
GDCM. The last two can hang or end their process on damaged streams, and run in a helper process
(`scanside.readers.dicom.helper`). pylibjpeg-libjpeg (GPL) is never used.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.discretion import refusing
from scanside.errors import ExtraNotInstalledError, InputError
from scanside.preprocess import MAX_SIDE
from scanside.readers.dicom.codestream import Declared, jpeg2000_size, jpeg_size
from scanside.readers.dicom.header import load_pixels
from scanside.readers.dicom.values import integer, text
from scanside.study.volume import MAX_VOXELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from scanside.readers.dicom.header import Header

__all__ = ["Layout", "check_layout", "decode", "decode_files"]


class _Codec(NamedTuple):
    """How a transfer syntax is decoded.

    Attributes
    ----------
    plugin, package
        pydicom's name of the plugin, and the package that it needs.
    module
        What the package is imported as.
    size
        Reads what a compressed frame declares.
    in_helper
        Whether it must not run in this process.
    """

    plugin: str
    package: str
    module: str = "pydicom"
    size: Callable[[bytes], Declared] | None = None
    in_helper: bool = False


_LIMIT_BITS: Final = 16

_GDCM: Final = _Codec("gdcm", "python-gdcm", "gdcm", jpeg_size, in_helper=True)
_J2K: Final = _Codec("pylibjpeg", "pylibjpeg-openjpeg", "openjpeg", jpeg2000_size)
_JLS: Final = _Codec("pyjpegls", "pyjpegls", "jpeg_ls", jpeg_size, in_helper=True)

_CODECS: Final[dict[str, _Codec]] = {
    "1.2.840.10008.1.2": _Codec("", "pydicom"),
    "1.2.840.10008.1.2.1": _Codec("", "pydicom"),
    "1.2.840.10008.1.2.2": _Codec("", "pydicom"),
    "1.2.840.10008.1.2.5": _Codec("pydicom", "pydicom"),
    "1.2.840.10008.1.2.4.57": _GDCM,
    "1.2.840.10008.1.2.4.70": _GDCM,
    "1.2.840.10008.1.2.4.80": _JLS,
    "1.2.840.10008.1.2.4.81": _JLS,
    "1.2.840.10008.1.2.4.90": _J2K,
    "1.2.840.10008.1.2.4.91": _J2K,
}
"""Transfer syntaxes (PS3.5 A) that are read."""

_ACCEPTED: Final = (
    "uncompressed, RLE, JPEG Lossless, JPEG-LS and JPEG 2000 data of one sample of 8 to 16 bits"
)


class Layout(NamedTuple):
    """What the header declares about the pixel data."""

    frames: int
    rows: int
    columns: int


def check_layout(dataset: Dataset, source: str) -> Layout:
    """Check what a header declares about pixel data, before anything is decoded.

    Raises
    ------
    InputError
        If it is nothing that is read here.
    """
    with refusing(source, "the description of the pixel data"):
        syntax = text(dataset.file_meta, "TransferSyntaxUID")
        if syntax not in _CODECS:
            raise InputError(
                f"{source}: the transfer syntax {_uid(syntax)} is not read",
                accepted=_ACCEPTED,
                remedy="convert it with: dcmconv +te IN OUT, or dcmdjpeg IN OUT",
            )
        layout = Layout(
            frames=integer(dataset, "NumberOfFrames") or 1,
            rows=integer(dataset, "Rows") or 0,
            columns=integer(dataset, "Columns") or 0,
        )
        bits = integer(dataset, "BitsStored") or 0
        allocated = integer(dataset, "BitsAllocated")
        kept = integer(dataset, "HighBit") == bits - 1
        shape = (
            0 < layout.rows <= MAX_SIDE
            and 0 < layout.columns <= MAX_SIDE
            and 0 < layout.frames * layout.rows * layout.columns <= MAX_VOXELS
        )
        grey = text(dataset, "PhotometricInterpretation") in {"MONOCHROME1", "MONOCHROME2"}
        if integer(dataset, "SamplesPerPixel") != 1 or not grey:
            raise _refused(source, "the pixel data are not grey")
        if allocated not in (8, 16) or not 8 <= bits <= allocated or not kept:  # noqa: PLR2004
            raise _refused(source, f"{bits} bits stored in {allocated} allocated")
        if not shape:
            raise _refused(
                source, f"{layout.frames} frames of {layout.columns} x {layout.rows} pixels"
            )
    return layout


def decode(dataset: Dataset, source: str, *, in_helper: bool = False) -> NDArray[np.generic]:
    """Decode the pixel data of a dataset.

    Parameters
    ----------
    dataset
        With its pixel data and file meta information.
    source
        What to call it.
    in_helper
        Whether this is the helper process, which a decoder may hang or end.

    Returns
    -------
    ndarray
        uint8, uint16 or int16 ``[frames, rows, columns]``: stored values, bits beyond BitsStored
        removed, signs extended.

    Raises
    ------
    InputError
        If the data are not accepted, damaged, or fewer than declared.
    """
    layout = check_layout(dataset, source)
    return _decoded(dataset, layout, source, in_helper=in_helper)


def _decoded(
    dataset: Dataset, layout: Layout, source: str, *, in_helper: bool = False
) -> NDArray[np.generic]:
    with refusing(source, "the pixel data"):
        syntax = text(dataset.file_meta, "TransferSyntaxUID")
        codec = _CODECS[syntax]
        if codec.in_helper and not in_helper:
            raise AssertionError(f"{codec.package} outside of the helper")
        if codec.size is not None:
            _check_frames(dataset, layout, codec.size, source)
        return _frames(dataset, layout, syntax, codec, source)


def decode_files(headers: Sequence[Header]) -> Iterator[NDArray[np.generic]]:
    """Decode the pixel data of files of one series, whose headers are not parsed again.

    Yields
    ------
    ndarray
        For each file as `decode` gives it.

    Raises
    ------
    InputError
        As for `decode`, or if the helper process did not survive a file.
    ExtraNotInstalledError
        If the decoder is not installed.
    """
    for header in headers:
        source = header.blob.source
        layout = check_layout(header.dataset, source)
        codec = _CODECS[text(header.dataset.file_meta, "TransferSyntaxUID")]
        if find_spec(codec.module) is None:
            raise ExtraNotInstalledError(
                "this transfer syntax", package=codec.package, extra="dicom"
            )
        data = header.blob.read()
        if codec.in_helper:
            from scanside.readers.dicom.helper import decode_in_helper

            yield decode_in_helper(data, source)
        else:
            yield _decoded(load_pixels(data, header), layout, source)


def _check_frames(
    dataset: Dataset, layout: Layout, size: Callable[[bytes], Declared], source: str
) -> None:
    from pydicom.encaps import generate_frames

    frames = generate_frames(dataset.PixelData, number_of_frames=layout.frames)
    for found, frame in enumerate(frames, 1):
        try:
            declared = size(frame)
        except InputError as error:
            raise InputError(
                f"{source}: {error.given}", accepted=error.accepted, remedy=error.remedy
            ) from None
        fits = (declared.rows, declared.columns, declared.components) == (
            layout.rows, layout.columns, 1,
        )  # fmt: skip
        if not fits or declared.precision > _LIMIT_BITS or found > layout.frames:
            raise _refused(
                source,
                f"a compressed frame of {declared.columns} x {declared.rows} x"
                f" {declared.components} in a file of {layout.columns} x {layout.rows}",
            )


def _frames(
    dataset: Dataset, layout: Layout, syntax: str, codec: _Codec, source: str
) -> NDArray[np.generic]:
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(syntax)
    pixels: NDArray[np.generic] | None = None
    count = 0
    for frame, _ in decoder.iter_array(dataset, raw=True, decoding_plugin=codec.plugin):
        if count == layout.frames or frame.shape != (layout.rows, layout.columns):
            raise _refused(source, "the pixel data hold other frames than the header declares")
        if pixels is None:
            pixels = np.empty((layout.frames, layout.rows, layout.columns), _native(frame.dtype))
        pixels[count] = frame
        count += 1
    if pixels is None or count < layout.frames:
        raise _refused(source, f"the pixel data end after {count} of {layout.frames} frames")
    return pixels


def _native(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the dtype in this machine's byte order; signed 8 bits as 16."""
    return np.dtype(np.int16) if dtype == np.int8 else dtype.newbyteorder("=")


def _uid(text_: str) -> str:
    """Return a UID for a message, only if it is one: a damaged header may hold anything there."""
    return text_ if text_ and not text_.strip("0123456789.") else "(none)"


def _refused(source: str, what: str) -> InputError:
    return InputError(
        f"{source}: {what}",
        accepted=_ACCEPTED,
        remedy="export the series again, uncompressed if need be",
    )
