"""From a slice of any size and depth to the model's input, and back for masks.

This is the only preprocessing there is: training, calibration and the runtime call it.
Two steps, in this order:

1. *Intensity*. 8-bit pixels pass unchanged. Deeper pixels are mapped by the window of their
   **series** to 8 bits. There is no per-slice window: it would move a patient's grey levels
   from slice to slice.
2. *Geometry*. The slice is scaled to fit 256 x 256 with its aspect kept and padded with 0. A
   256 x 256 slice passes byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import cv2
import numpy as np

from scanside.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

__all__ = [
    "CHANNELS",
    "MAX_SIDE",
    "MIN_SIDE",
    "SIDE",
    "Geometry",
    "Window",
    "apply_window",
    "check_slice",
    "fill_missing",
    "fit",
    "preprocess",
    "restore",
    "stood_in",
]

SIDE: Final = 256
"""Height and width of the model's input in pixels: the matrix of the LGG dataset."""

CHANNELS: Final = ("pre-contrast", "FLAIR", "post-contrast")
"""The model's channels, in order: the order of the LGG dataset (Buda et al. 2019)."""

_FLAIR: Final = CHANNELS.index("FLAIR")

MIN_SIDE: Final = 32
"""Smallest accepted side in pixels. Below it a slice is enlarged over eight times, and no MR
matrix is that small."""

MAX_SIDE: Final = 4096
"""Largest accepted side in pixels: over four times the largest usual MR matrix (1024)."""

_SIZES: Final = f"slices of {MIN_SIDE} to {MAX_SIDE} pixels a side"


class Window(NamedTuple):
    """The intensity window of a series.

    Attributes
    ----------
    low, high
        The stored values that become 0 and 255. Values outside are clipped.
    """

    low: float
    high: float


class Geometry(NamedTuple):
    """Where a slice lies inside the model's input; everything that `restore` needs.

    Attributes
    ----------
    height, width
        Size of the source slice in pixels.
    top, left
        Position of the scaled slice inside the ``SIDE`` x ``SIDE`` input.
    scaled_height, scaled_width
        Size of the scaled slice in pixels.
    """

    height: int
    width: int
    top: int
    left: int
    scaled_height: int
    scaled_width: int


def fit(height: int, width: int, aspect: float = 1.0) -> Geometry:
    """Return where a slice of this size lies inside the model's input.

    Parameters
    ----------
    height, width
        Size of the source slice in pixels.
    aspect
        Height of a pixel over its width; what is not square becomes so in the model's input.

    Raises
    ------
    InputError
        If a side is below `MIN_SIDE` or above `MAX_SIDE`.
    """
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise InputError(
            f"the slice is {width} x {height} pixels",
            accepted=_SIZES,
            remedy="export the slice at the matrix it was reconstructed at",
        )
    longest = max(height * aspect, width)
    scaled_height = max(1, round(height * aspect * SIDE / longest))
    scaled_width = max(1, round(width * SIDE / longest))
    return Geometry(
        height=height,
        width=width,
        top=(SIDE - scaled_height) // 2,
        left=(SIDE - scaled_width) // 2,
        scaled_height=scaled_height,
        scaled_width=scaled_width,
    )


def check_slice(pixels: NDArray[np.generic]) -> None:
    """Refuse an array that is no three-sequence slice.

    Parameters
    ----------
    pixels
        The slice as it was read, any dtype, ``[H, W, 3]`` if it is to be accepted.

    Raises
    ------
    InputError
        If the array is grey, has another number of channels, is of a dtype that holds no
        intensities, or has values that are not finite.
    """
    grey = pixels.shape[2:] in ((), (1,))
    wanted = f"[H, W, 3] with the sequences {', '.join(CHANNELS)}"
    if grey:
        raise InputError(
            f"the image is grey (one sequence, shape {list(pixels.shape)})",
            accepted=wanted,
            remedy="give a study's three sequences as one image, or --fill-missing to let FLAIR"
            " stand in for the other two (the result says so)",
        )
    if pixels.shape[2:] != (len(CHANNELS),):
        raise InputError(f"the image has the shape {list(pixels.shape)}", accepted=wanted)
    if pixels.dtype.kind not in "uif":
        raise InputError(
            f"the image has the dtype {pixels.dtype}", accepted="unsigned, signed or float pixels"
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        bad = int(np.size(pixels) - np.isfinite(pixels).sum())
        raise InputError(
            f"{bad} of {pixels.size} values are NaN or infinite",
            accepted="finite values",
            remedy="export the slice again, with a number in place of each missing value",
        )


def fill_missing(flair: NDArray[np.generic]) -> NDArray[np.generic]:
    """Let FLAIR stand in for the other two sequences, as in the training data.

    Parameters
    ----------
    flair
        The FLAIR slice, any dtype, ``[H, W]`` or ``[H, W, 1]``.

    Returns
    -------
    ndarray
        ``[H, W, 3]`` of the same dtype, FLAIR in each channel.
    """
    plane = flair.reshape(*flair.shape[:2], 1)
    return np.repeat(plane, len(CHANNELS), axis=2)


def stood_in(pixels: NDArray[np.generic]) -> tuple[str, ...]:
    """Name the sequences that FLAIR stands in for: their channel equals FLAIR's in every pixel.

    So it is in the training data where a patient has no such sequence, and so is a grey image
    that was saved as RGB. A slice whose FLAIR shows nothing tells nothing.

    Parameters
    ----------
    pixels
        The slice, any dtype, ``[H, W, 3]`` in the order of `CHANNELS`.
    """
    middle = pixels[len(pixels) // 2]  # it differs nearly always where two sequences do
    flair = pixels[..., _FLAIR]
    found = tuple(
        name
        for at, name in enumerate(CHANNELS)
        if at != _FLAIR
        and np.array_equal(middle[:, at], middle[:, _FLAIR])
        and np.array_equal(pixels[..., at], flair)
    )
    return found if found and (flair != flair[0, 0]).any() else ()


def apply_window(pixels: NDArray[np.generic], window: Window) -> NDArray[np.uint8]:
    """Map stored values to 8 bits by the window of their series.

    Parameters
    ----------
    pixels
        Stored values, any shape, any real dtype, finite.
    window
        The values that become 0 and 255.

    Returns
    -------
    ndarray of uint8
        ``rint((pixels - low) / (high - low) * 255)``, clipped, of the shape of `pixels`.

    Raises
    ------
    InputError
        If the window is not finite or not increasing.
    """
    low, high = float(window.low), float(window.high)
    if not (np.isfinite(low) and np.isfinite(high) and 0 < high - low < np.inf):
        accepted = "two finite numbers LO < HI, whose difference is finite too"
        raise InputError(f"the window is {window.low},{window.high}", accepted=accepted)
    # float64: exact for every integer up to 32 bits, so that a window which inverts a gain and
    # an offset gives the original 8-bit values back without a rounding surprise.
    with np.errstate(over="ignore"):  # what overflows lies beyond the window
        scaled = (pixels.astype(np.float64) - low) * 255.0 / (high - low)
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)


def preprocess(
    pixels: NDArray[np.generic], window: Window | None = None, aspect: float = 1.0
) -> tuple[NDArray[np.uint8], Geometry]:
    """Turn a slice into the model's input.

    Parameters
    ----------
    pixels
        The slice, ``[H, W, 3]`` in the order of `CHANNELS`, 8-bit, deeper, or float.
    window
        The window of the slice's series; required for anything but uint8, refused for uint8.
    aspect
        Height of a pixel over its width.

    Returns
    -------
    image : ndarray of uint8
        ``[256, 256, 3]``, C-contiguous.
    geometry : Geometry
        What `restore` needs to bring a mask back to the source grid.

    Raises
    ------
    InputError
        If the slice or the window is not accepted (see `check_slice`, `fit`, `apply_window`).
    """
    check_slice(pixels)
    geometry = fit(pixels.shape[0], pixels.shape[1], aspect)
    eight = _resized(_to_eight_bits(pixels, window), geometry.scaled_height, geometry.scaled_width)
    if eight.shape[:2] == (SIDE, SIDE):
        return eight, geometry
    image = np.zeros((SIDE, SIDE, len(CHANNELS)), np.uint8)
    bottom, right = geometry.top + geometry.scaled_height, geometry.left + geometry.scaled_width
    image[geometry.top : bottom, geometry.left : right] = eight
    return image, geometry


def restore(plane: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Bring a plane of the model's output back to the source grid.

    Probabilities are resized, not masks: a mask on the source grid is the restored plane
    compared with the threshold, which keeps outlines smooth.

    Parameters
    ----------
    plane
        ``[256, 256]``, for instance the mask's probabilities.
    geometry
        What `preprocess` returned for the slice.

    Returns
    -------
    ndarray of float32
        ``[height, width]``. Without scaling it is the unpadded plane, bit for bit.
    """
    bottom, right = geometry.top + geometry.scaled_height, geometry.left + geometry.scaled_width
    inner = plane[geometry.top : bottom, geometry.left : right]
    return _resized(inner, geometry.height, geometry.width)


def _to_eight_bits(pixels: NDArray[np.generic], window: Window | None) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        if window is not None:
            raise InputError(
                f"a window ({window.low:g},{window.high:g}) was given for an 8-bit image",
                accepted="a window for 16-bit and float images only; 8-bit pixels pass unchanged",
                remedy="leave --window out for this input",
            )
        return pixels.view(np.ndarray).astype(np.uint8, copy=False)
    if window is None:
        raise InputError(
            f"the image is {pixels.dtype} with values {pixels.min():g} to {pixels.max():g},"
            " and no window is known for its series",
            accepted="8-bit images, or deeper ones with the window of their series",
            remedy="give --window LO,HI: the stored values that become black and white,"
            " the same for every slice of the series",
        )
    return apply_window(pixels, window)


def _resized(array: NDArray[Scalar], height: int, width: int) -> NDArray[Scalar]:
    """Resize with pixel centres aligned: area average to shrink, bilinear to enlarge.

    The aspect of square pixels is kept, so that a slice is either shrunk or enlarged. Pixels that
    are not square may make it both, which OpenCV's area rule then interpolates bilinearly.
    """
    if array.shape[:2] == (height, width):
        return np.ascontiguousarray(array)
    shrinking = height < array.shape[0] or width < array.shape[1]
    rule = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=rule)
    return resized.astype(array.dtype, copy=False)
