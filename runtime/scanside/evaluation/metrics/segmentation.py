"""How well a mask covers the true one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

from scanside.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Overlap", "dice", "hausdorff95", "iou", "overlap", "surface"]

_CROSS: Final = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

_CHUNK: Final = 1 << 20
"""Distances computed at a time: 8 MB, whatever the masks' size."""


class Overlap(NamedTuple):
    """The areas that Dice and IoU are made of. Those of a volume are the sums of its slices'.

    Attributes
    ----------
    intersection, predicted, true
        Pixels in both masks, in the predicted one, in the true one.
    """

    intersection: int
    predicted: int
    true: int


def overlap(predicted: ArrayLike, true: ArrayLike) -> Overlap:
    """Count the pixels of two masks.

    Parameters
    ----------
    predicted, true
        bool or 0/1, ``[H, W]``.
    """
    one, other = _pair(predicted, true)
    return Overlap(
        int(np.count_nonzero(one & other)),
        int(np.count_nonzero(one)),
        int(np.count_nonzero(other)),
    )


def dice(intersection: ArrayLike, predicted: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """Return the Dice coefficient: 1 if both masks are empty, 0 if one alone is.

    Parameters
    ----------
    intersection, predicted, true
        Pixels, of any one shape (or scalars): slices, or sums over the slices of a volume.

    Returns
    -------
    ndarray of float64
        ``2 intersection / (predicted + true)``, of that shape.

    References
    ----------
    Dice (1945): Measures of the amount of ecologic association between species. Ecology 26.
    """
    both = np.asarray(predicted, np.float64) + np.asarray(true, np.float64)
    return _share(2.0 * np.asarray(intersection, np.float64), both)


def iou(intersection: ArrayLike, predicted: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """Return intersection over union: 1 if both masks are empty, 0 if one alone is.

    Parameters
    ----------
    intersection, predicted, true
        As in `dice`.

    Returns
    -------
    ndarray of float64
        ``intersection / (predicted + true - intersection)``.

    References
    ----------
    Jaccard (1901): Étude comparative de la distribution florale. Bulletin de la Société
    vaudoise des sciences naturelles 37.
    """
    common = np.asarray(intersection, np.float64)
    union = np.asarray(predicted, np.float64) + np.asarray(true, np.float64) - common
    return _share(common, union)


def surface(mask: ArrayLike) -> NDArray[np.bool_]:
    """Return a mask's surface: the pixels with a 4-neighbour outside it.

    What lies beyond the image counts as outside, as in SciPy's ``binary_erosion``.

    Parameters
    ----------
    mask
        bool or 0/1, ``[H, W]``.
    """
    inside = np.asarray(mask).astype(np.uint8)
    eroded = cv2.erode(inside, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    return np.not_equal(inside, eroded)


def hausdorff95(
    predicted: ArrayLike, true: ArrayLike, spacing: tuple[float, float] = (1.0, 1.0)
) -> float:
    """Return the 95th percentile Hausdorff distance between two masks' surfaces.

    The larger of the two directed 95th percentiles (linear interpolation) of the distances
    from each surface pixel to the nearest one of the other mask: the definition of MONAI's
    ``compute_hausdorff_distance`` with ``percentile=95``. It is measured in the plane; a
    volume's would need the distance between slices, which this dataset does not give.

    Parameters
    ----------
    predicted, true
        bool or 0/1, ``[H, W]``.
    spacing
        Height and width of a pixel; millimetres in, millimetres out.

    Returns
    -------
    float
        In pixels unless `spacing` says otherwise. ``inf`` if one mask alone is empty, ``nan``
        if both are: leave those out of a mean and say how many there were.

    References
    ----------
    Huttenlocher, Klanderman, Rucklidge (1993): Comparing images using the Hausdorff distance.
    IEEE TPAMI 15. The 95th percentile is that of the BraTS challenge (Menze et al. 2015).
    """
    one, other = _pair(predicted, true)
    if not (np.isfinite(spacing).all() and min(spacing) > 0):
        raise InputError(f"the spacing is {spacing}", accepted="two sizes above 0")
    if not one.any() and not other.any():
        return float("nan")
    if not one.any() or not other.any():
        return float("inf")
    points = [np.argwhere(surface(mask)) * np.asarray(spacing) for mask in (one, other)]
    there, back = _nearest(points[0], points[1])
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _nearest(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each point's distance to the nearest of the other set, both ways."""
    there = np.empty(len(one))
    back = np.full(len(other), np.inf)
    step = max(1, _CHUNK // len(other))
    for start in range(0, len(one), step):
        part = one[start : start + step]
        square = (part[:, None, 0] - other[:, 0]) ** 2 + (part[:, None, 1] - other[:, 1]) ** 2
        there[start : start + step] = square.min(axis=1)
        np.minimum(back, square.min(axis=0), out=back)
    return np.sqrt(there), np.sqrt(back)


def _pair(predicted: ArrayLike, true: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    one, other = np.asarray(predicted), np.asarray(true)
    if one.shape != other.shape or one.ndim != 2:  # noqa: PLR2004
        raise InputError(
            f"masks of the shapes {list(one.shape)} and {list(other.shape)}",
            accepted="two masks [H, W] on one grid",
        )
    return one.astype(bool), other.astype(bool)


def _share(over: NDArray[np.float64], under: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(over, under, out=np.ones(np.shape(under)), where=under > 0)
