"""Image files in, slices out, exactly as they are stored.

PNG, JPEG and WebP are decoded by OpenCV, from the parts that carry pixels, after their structure
has been proved whole; TIFF by `scanside.readers.tiff`. Whatever cannot be read exactly is refused.

OpenCV's log level is left alone: it belongs to the whole process, not to a reader. What its
decoders print about metadata and truncation does not arise, since both are dealt with before;
a line on stderr remains possible for pixels damaged inside an intact structure.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cv2
import numpy as np

from scanside.errors import InputError
from scanside.readers import containers, jpeg, tiff
from scanside.readers.structure import ACCEPTED, Container, damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "MAX_FILE_BYTES",
    "STDIN",
    "Page",
    "Slice",
    "read_file",
    "read_image",
    "read_pages",
    "read_regular",
    "source_name",
]

STDIN: Final = Path("/dev/stdin")
"""What stands for standard input among paths: it is read to its end, whatever it is."""

MAX_FILE_BYTES: Final = 2**30
"""Largest file that is read, 1 GiB: three times a stack of 200 RGB slices of 512 x 512 at 16
bits. The file is held in memory, beside the models, on devices that have 8 GB for all."""


_GREY_ALPHA, _RGB_ALPHA = 2, 4
_TO_RGB: Final = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
"""OpenCV's conversion by the number of channels that it decoded."""


class Slice(NamedTuple):
    """One slice as it was read.

    Attributes
    ----------
    source
        Where it comes from: the path or name of the file.
    index
        Number of the page in the file, from 0.
    pixels
        ``[H, W, 3]``, first channel the file's red (pre-contrast), or ``[H, W]`` for grey;
        uint8, uint16, int16 or float32, the values as stored.
    """

    source: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    pixels: NDArray[np.generic]


class Page(NamedTuple):
    """One page of a file: its pixels, or why it has none.

    Attributes
    ----------
    number
        Number of the page in the file, from 0.
    pages
        Pages in the file.
    pixels
        As in `Slice`; none for a page that is not accepted.
    error
        Why it is not accepted.
    """

    number: int
    pages: int
    pixels: NDArray[np.generic] | None
    error: InputError | None = None


def read_file(path: str | os.PathLike[str]) -> Iterator[Slice]:
    """Read the slices of an image file.

    Parameters
    ----------
    path
        A regular file; its name does not matter.

    Returns
    -------
    iterator of Slice
        As from `read_image`, with the path as source.

    Raises
    ------
    InputError
        If the file cannot be read, is not a regular file, or as for `read_image`.
    """
    source = source_name(path)
    return read_image(read_regular(Path(path), source), source)


def source_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text: a name that is not valid text must not break a record."""
    return os.fsencode(path).decode(errors="backslashreplace")


def read_pages(path: str | os.PathLike[str]) -> Iterator[Page]:
    """Read every page of an image file, damaged ones as their errors.

    Parameters
    ----------
    path
        A regular file, whose name does not matter; or `STDIN`.

    Yields
    ------
    Page
        One for each page, in order: a damaged page takes none of the others with it. One with
        the error alone where the file as a whole is not accepted.
    """
    source = source_name(path)
    try:
        data = _read_stdin() if Path(path) == STDIN else read_regular(Path(path), source)
        container = _inspected(data, source)
    except InputError as error:
        yield Page(0, 1, None, error)
        return
    for index in range(len(container.pages)):
        try:
            page = Page(
                index, len(container.pages), _pixels(memoryview(data), container, index, source)
            )
        except InputError as error:
            page = Page(index, len(container.pages), None, error)
        yield page


def read_image(data: bytes, source: str) -> Iterator[Slice]:
    """Read the slices of an image file that is in memory.

    The structure is walked at once; pages are decoded one by one as they are asked for.

    Parameters
    ----------
    data
        The whole file.
    source
        What to call it in slices and errors.

    Returns
    -------
    iterator of Slice
        One slice a page.

    Raises
    ------
    InputError
        With `source` first: at once if the file is not accepted or not whole (see
        `scanside.readers.containers.inspect`), and while iterating if a page's pixels turn out
        to be damaged or not opaque.
    """
    return _slices(memoryview(data), _inspected(data, source), source)


def read_regular(path: Path, source: str, limit: int | None = None) -> bytes:
    """Read a regular file; never blocks, never opens a device.

    Parameters
    ----------
    path, source
        The file, and what to call it.
    limit
        Most bytes.  [default: `MAX_FILE_BYTES`]

    Raises
    ------
    InputError
        With `source` first, for anything else.
    """
    most = MAX_FILE_BYTES if limit is None else limit
    try:
        # Before opening: to open a FIFO blocks, and to open some devices has consequences.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{source}: this is not a regular file", accepted=ACCEPTED)
        # Should it have been replaced since, a FIFO gives no byte and a device no more than asked.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            if size > most:
                raise InputError(
                    f"{source}: the file has {size:,} bytes",
                    accepted=f"files of up to {most:,} bytes",
                    remedy="split the stack into several files",
                )
            return file.read(size) or b""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{source}: the file cannot be read ({reason})",
            accepted=ACCEPTED,
            remedy="check the path and the permissions",
        ) from error


def _read_stdin() -> bytes:
    try:
        data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    except (OSError, AttributeError, ValueError):
        raise InputError(
            f"{STDIN}: standard input cannot be read", accepted="an image on standard input"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise InputError(
            f"{STDIN}: there is no end after {MAX_FILE_BYTES:,} bytes",
            accepted=f"images of up to {MAX_FILE_BYTES:,} bytes",
        )
    return data


def _inspected(data: bytes, source: str) -> Container:
    try:
        return containers.inspect(data)
    except InputError as error:
        raise _of(source, error) from error


def _slices(data: memoryview, container: Container, source: str) -> Iterator[Slice]:
    for index in range(len(container.pages)):
        yield Slice(source, index, _pixels(data, container, index, source))


def _pixels(data: memoryview, container: Container, index: int, source: str) -> NDArray[np.generic]:
    place = source
    try:
        if container.kind == "TIFF":
            place = f"{source}: page {index + 1}"
            return _opaque(tiff.decode(data, container.layouts[index]))
        return _opaque(_decode(data, container))
    except InputError as error:
        raise _of(place, error) from error


def _decode(data: memoryview, container: Container) -> NDArray[np.generic]:
    """Decode PNG, JPEG or WebP to ``[height, width, channels]``, alpha last."""
    picture = b"".join(data[start:stop] for start, stop in container.ranges)
    width, height = container.pages[0]
    decoded = _imdecode(picture)
    if decoded is None or decoded.shape[:2] != (height, width):
        raise damaged(container.kind, "its pixels cannot be decoded")
    if container.kind == "JPEG":
        again = _imdecode(jpeg.beyond_end(picture, width))
        if again is None or not np.array_equal(again, decoded):
            raise damaged("JPEG", "its pixels end before the picture does")
    planes = decoded.reshape(height, width, -1)
    if container.channels == _GREY_ALPHA:  # decoded with the grey three times
        return planes[..., [0, -1]]
    order = _TO_RGB.get(planes.shape[2])
    return planes if order is None else cv2.cvtColor(planes, order)


def _imdecode(picture: bytes) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _opaque(pixels: NDArray[Any]) -> NDArray[np.generic]:
    """Drop an alpha channel that hides nothing, refuse one that does; grey becomes 2-D."""
    if pixels.shape[2] in {_GREY_ALPHA, _RGB_ALPHA}:
        alpha, pixels = pixels[..., -1], pixels[..., :-1]
        full = 1.0 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
        if (alpha != full).any():
            raise InputError(
                f"{np.count_nonzero(alpha != full)} pixels are not opaque",
                accepted="images without alpha, or with an alpha channel that is opaque throughout",
                remedy="save the image without alpha",
            )
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _of(source: str, error: InputError) -> InputError:
    return InputError(f"{source}: {error.given}", accepted=error.accepted, remedy=error.remedy)
