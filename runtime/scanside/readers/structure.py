"""What every walk through an image file gives and refuses."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from scanside.errors import InputError
from scanside.preprocess import MAX_SIDE, MIN_SIDE

if TYPE_CHECKING:
    from scanside.readers.tiff import Layout

__all__ = [
    "ACCEPTED",
    "Container",
    "Kind",
    "check_orientation",
    "check_side",
    "check_trailing",
    "damaged",
    "unpack",
]

Kind = Literal["PNG", "TIFF", "JPEG", "WebP"]

ACCEPTED: Final = "PNG, TIFF, JPEG and WebP, whatever the file's name"

_UPRIGHT: Final = 1
"""Orientation of TIFF 6.0 and EXIF: the first row is the top, the first column the left."""


class Container(NamedTuple):
    """What an image file declares, known without decoding a pixel.

    Attributes
    ----------
    kind
        The container's format.
    pages
        Width and height of every page in pixels; one page unless TIFF.
    channels
        Channels in the file: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; for TIFF see
        `layouts`.
    ranges
        The bytes that a decoder needs, as (start, stop); empty for TIFF. Metadata is left out:
        it cannot change a pixel, and decoders print warnings about it.
    layouts
        TIFF only: where and how each page is stored.
    """

    kind: Kind
    pages: tuple[tuple[int, int], ...]
    channels: int = 3
    ranges: tuple[tuple[int, int], ...] = ()
    layouts: tuple[Layout, ...] = ()


def damaged(kind: Kind, what: str) -> InputError:
    """Return the error for a file that breaks off or contradicts itself."""
    return InputError(
        f"the {kind} file is damaged or incomplete: {what}",
        accepted="complete files",
        remedy="copy or export the file again",
    )


def unpack(kind: Kind, code: str, data: memoryview, offset: int = 0) -> tuple[Any, ...]:
    """Unpack a structure, refusing a file that does not reach that far."""
    try:
        return struct.unpack_from(code, data, offset)
    except (struct.error, OverflowError):
        raise damaged(kind, f"{len(data)} bytes do not reach to a field at {offset}") from None


def check_side(width: int, height: int) -> None:
    """Refuse what is too large before memory is taken for it.

    Too small is left to `scanside.preprocess.fit`, which knows the whole rule.
    """
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise InputError(
            f"the image declares {width} x {height} pixels",
            accepted=f"slices of {MIN_SIDE} to {MAX_SIDE} pixels a side",
            remedy="export the slice at the matrix it was reconstructed at",
        )


def check_orientation(orientation: int) -> None:
    """Refuse a picture that is to be turned or mirrored for display.

    Turned, the mask would not lie on the stored grid; as stored, the brain lies on its side.
    """
    if orientation != _UPRIGHT:
        raise InputError(
            f"the image is to be turned or mirrored for display (orientation {orientation})",
            accepted=f"images stored upright (orientation {_UPRIGHT}, or none)",
            remedy="save the image upright, without an orientation tag",
        )


def check_trailing(kind: Kind, rest: memoryview) -> None:
    """Refuse bytes after the picture's end unless they are padding (0x00 or 0xFF)."""
    if bytes(rest).strip(b"\x00\xff"):
        raise InputError(
            f"{len(rest)} bytes follow the end of the {kind} picture",
            accepted="one picture a file, with nothing but padding after it",
            remedy="export the slice again; use TIFF for several pages in one file",
        )
