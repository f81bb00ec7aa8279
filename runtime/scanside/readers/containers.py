"""Which image format some bytes are, and whether the file is whole and acceptable.

A pure walk over the structure: no pixel is decoded and no memory is taken for one, so that a
picture of 20,000 columns or a decompression bomb is refused for what it declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.errors import InputError
from scanside.readers import ifd, jpeg, png, tiff, webp
from scanside.readers.dicom.preamble import lacks_preamble
from scanside.readers.structure import ACCEPTED, Container, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HEAD", "Container", "Kind", "describe", "inspect", "recognise"]

HEAD: Final = 512
"""First bytes that `recognise` and `describe` look at: a NIfTI-1 header with its magic (352) and,
where it is compressed, as much as it is compressed to."""

_INSPECTORS: Final[dict[Kind, Callable[[memoryview], Container]]] = {
    "PNG": png.inspect,
    "TIFF": tiff.inspect,
    "JPEG": jpeg.inspect,
    "WebP": webp.inspect,
}

_OTHERS: Final = (
    (128, b"DICM", "DICOM"),
    (344, b"n+1\x00", "NIfTI"),
    (344, b"ni1\x00", "NIfTI"),
    (4, b"n+2\x00", "NIfTI"),
    (0, b"\x1f\x8b", "gzip (a compressed NIfTI?)"),
    (0, b"BM", "BMP"),
    (0, b"GIF8", "GIF"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"%PDF", "PDF"),
    (0, b"\x93NUMPY", "NumPy"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
)
"""Offset, magic and name of formats that are often given in place of an image."""

_TEXT: Final = bytes({*range(0x20, 0x7F), *b"\t\n\f\r\x1b", *range(0x80, 0x100)})


def recognise(head: bytes) -> Kind | None:
    """Return the accepted format that these first bytes belong to, if any.

    Parameters
    ----------
    head
        The first bytes of a file, 12 or more if it has as many.
    """
    if head.startswith(png.MAGIC):
        return "PNG"
    if head.startswith(ifd.MAGICS):
        return "TIFF"
    if head.startswith(jpeg.MAGIC):
        return "JPEG"
    return "WebP" if webp.recognises(head) else None


def describe(head: bytes) -> str:
    """Say what first bytes look like that are no accepted image.

    Parameters
    ----------
    head
        The first `HEAD` bytes of a file, or all if it has fewer.
    """
    if not head:
        return "empty"
    for offset, magic, name in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return name
    if lacks_preamble(head):
        return "DICOM"
    return "unknown" if head.translate(None, _TEXT) else "text"


def inspect(data: bytes | memoryview) -> Container:
    """Walk the structure of an image file.

    Parameters
    ----------
    data
        The whole file.

    Returns
    -------
    Container
        The format, the size of every page, and what decoding needs.

    Raises
    ------
    InputError
        If the content is no accepted format, or the file breaks off, contradicts itself,
        declares a side above `scanside.preprocess.MAX_SIDE`, or holds what cannot be read
        exactly; the modules `png`, `tiff`, `jpeg` and `webp` say what that is.
    """
    view = memoryview(data)
    head = bytes(view[:HEAD])
    kind = recognise(head)
    if kind is None:
        raise InputError(
            f"the content is no image that is read here, but {describe(head)}",
            accepted=ACCEPTED,
            remedy="export the slice as PNG or TIFF",
        )
    return _INSPECTORS[kind](view)
