"""Tell images of patients from noise, drawings and copies.

Ranges and scales are only as good as what they were measured on. No statistic proves that an
image is a patient's, so each test here is for one way of being none, with a threshold far from
every real patient. Over the 88 patients and 2,986 slices of the LGG dataset, each patient taken
by itself, the figures are (worst patient; what is to be refused; threshold):

- correlation of neighbouring pixels: 0.92; noise 0, noise blurred over 5 x 5 pixels 0.8; 0.85
- correlation of neighbouring steps, edges left out: 0.19; noise on flat shapes -0.5; -0.2
- equal neighbours among bright pixels: 0.21; drawn shapes 0.9 and more; 0.5
- dark share of the border, since air surrounds a head: 0.83; gradients and smooth noise 0; 0.3
- best match of a slice in another patient: 0.970; the same image with other noise 0.999; 0.98

The project's own phantoms are made to pass such tests. They are known by their patients' names
(``PHANTOM_0001``), which `scanside data phantom` gives to every file; renamed, they pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

from scanside.errors import InputError
from scanside.preprocess import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["LIMITS", "Look", "Traits", "look_at", "refuse_artificial", "refuse_phantoms"]

_PHANTOM: Final = "PHANTOM_"
_FLAIR: Final = CHANNELS.index("FLAIR")

_BLANK: Final = 25.0
"""Variance in squared grey levels below which a channel says nothing: the slices above and
below the head."""

_BRIGHT: Final = 16
"""Grey levels from which a pixel is no air: a fifth of the brain's."""

_BORDER: Final = 8
_DARK: Final = 0.1
_THUMB: Final = 64

_EDGE: Final = 4.0
"""Steps above so many times the median step belong to an edge: 2.7 standard deviations of a
normal distribution."""

LIMITS: Final[dict[str, tuple[float, float]]] = {
    "neighbour_correlation": (0.85, 1.0),
    "difference_correlation": (-0.2, 1.0),
    "equal_neighbours": (0.0, 0.5),
    "dark_border": (0.3, 1.0),
}
"""Smallest and largest accepted median over the slices; see above."""

_COPY: Final = 0.98
_MAX_COPIES: Final = 0.1
"""Share of slices that may look like another patient's; none of the 2,986 does."""

_MEANING: Final = {
    "neighbour_correlation": "neighbouring pixels have nothing to do with each other: noise",
    "difference_correlation": "the pixels are flat shapes under independent noise",
    "equal_neighbours": "most bright pixels equal their neighbours: drawn shapes",
    "dark_border": "the images have no dark border: no head in air",
}


class Traits(NamedTuple):
    """What is measured of one slice; see the module's list.

    All are shares or correlations: `neighbour_correlation` is the lowest of the channels and
    directions, the others are FLAIR's.
    """

    neighbour_correlation: float
    difference_correlation: float
    equal_neighbours: float
    dark_border: float


class Look(NamedTuple):
    """One slice as it is judged.

    Attributes
    ----------
    traits
        None for a slice that is nearly blank in a channel.
    thumbnail
        FLAIR, zero mean and unit length, float32 ``[4096]``; None for a nearly blank one.
    """

    traits: Traits | None
    thumbnail: NDArray[np.float32] | None


def refuse_phantoms(patients: Iterable[str]) -> None:
    """Refuse patients that `scanside data phantom` has made.

    Raises
    ------
    InputError
        If there is one.
    """
    if made := [name for name in patients if name.startswith(_PHANTOM)]:
        raise InputError(
            f"{len(made)} of the patients are phantoms, for instance {made[0]}",
            accepted="slices of real patients: a phantom's ranges are not a scanner's",
            remedy="give the dataset that the models were trained on",
        )


def look_at(image: NDArray[np.uint8]) -> Look:
    """Measure a prepared slice.

    Parameters
    ----------
    image
        uint8 ``[256, 256, 3]``.
    """
    grey = image.astype(np.float32)
    flair = grey[..., _FLAIR]
    if flair.var() <= _BLANK:
        return Look(None, None)
    small = cv2.resize(flair, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).ravel()
    small = small - small.mean()
    thumbnail = (small / np.linalg.norm(small)).astype(np.float32)
    if min(grey[..., channel].var() for channel in range(grey.shape[2])) <= _BLANK:
        return Look(None, thumbnail)
    return Look(_traits(grey, flair), thumbnail)


def refuse_artificial(patients: Sequence[str], looks: Sequence[Look]) -> None:
    """Refuse slices that are no patients' images.

    Parameters
    ----------
    patients
        Whose each slice is.
    looks
        What `look_at` found, in the same order.

    Raises
    ------
    InputError
        If most slices are blank, or if they are noise, drawings or copies; the message gives
        the figure and its limit.
    """
    traits = [look.traits for look in looks if look.traits is not None]
    if len(traits) * 2 < len(looks):
        raise _refusal(f"{len(looks) - len(traits)} of {len(looks)} slices are nearly blank")
    for at, (name, (low, high)) in enumerate(LIMITS.items()):
        median = float(np.median([each[at] for each in traits]))
        if not low <= median <= high:
            raise _refusal(
                f"{_MEANING[name]} ({name.replace('_', ' ')} {median:.2f} in the median,"
                f" accepted {low:g} to {high:g})"
            )
    copies = _copies(patients, looks)
    if copies > _MAX_COPIES * len(looks):
        raise _refusal(
            f"{copies} of {len(looks)} slices look like another patient's (correlation above"
            f" {_COPY:g}): one patient under several names"
        )


def _refusal(what: str) -> InputError:
    return InputError(
        f"the calibration slices are not accepted: {what}",
        accepted="real slices of several patients, as the models will see them",
        remedy="calibrate with the training patients of the dataset",
    )


def _traits(grey: NDArray[np.float32], flair: NDArray[np.float32]) -> Traits:
    neighbours = min(
        _correlation(first, second)
        for channel in np.moveaxis(grey, 2, 0)
        for first, second in ((channel[1:], channel[:-1]), (channel[:, 1:], channel[:, :-1]))
    )
    steps = np.diff(flair, axis=1)
    bright = flair[:, 1:-1] >= _BRIGHT
    before, after = _without_edges(steps[:, :-1][bright], steps[:, 1:][bright])
    air = flair < _DARK * np.percentile(flair, 99.9)
    edge = np.ones_like(air)
    edge[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return Traits(
        neighbour_correlation=neighbours,
        difference_correlation=_correlation(before, after),
        equal_neighbours=float((after == 0).mean()) if after.size else 0.0,
        dark_border=float(air[edge].mean()),
    )


def _without_edges(
    before: NDArray[np.float32], after: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Leave out the steps of edges, which would hide the noise between them."""
    if not before.size:
        return before, after
    most = _EDGE * float(np.median(np.abs(before)))
    inside = (np.abs(before) <= most) & (np.abs(after) <= most)
    return before[inside], after[inside]


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the correlation of two arrays; 0 where one of them is constant."""
    left = first.ravel().astype(np.float64) - first.mean(dtype=np.float64) if first.size else first
    right = second.ravel() - second.mean(dtype=np.float64) if second.size else second
    scale = float(np.sqrt((left * left).sum() * (right * right).sum()))
    return float((left * right).sum()) / scale if scale else 0.0


def _copies(patients: Sequence[str], looks: Sequence[Look]) -> int:
    """Count the slices that another patient has as well, but for noise."""
    seen = [(who, look.thumbnail) for who, look in zip(patients, looks, strict=True)]
    thumbnails = np.stack([thumb for _, thumb in seen if thumb is not None])
    owners = np.array([who for who, thumb in seen if thumb is not None])
    matches = thumbnails @ thumbnails.T
    matches[owners[:, np.newaxis] == owners] = -1.0
    return int((matches.max(axis=1) > _COPY).sum())
