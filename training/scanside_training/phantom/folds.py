"""The folds of a phantom's cortex: sulci, the fissure between the hemispheres, the insula."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside_training.phantom.fields import norm, ramp, segment
from scanside_training.phantom.head import taper

if TYPE_CHECKING:
    from scanside_training.phantom.fields import Plane
    from scanside_training.phantom.head import Head, Noise

__all__ = ["Folds", "find_folds"]

_FEWEST_SULCI: Final = 12
_MEDIAL_SPACING: Final = 15.0
"""Distance of the sulci along the fissure between the hemispheres, px."""

_INSULA_HEIGHT: Final = 0.48
_INSULA_REACH: Final = 0.1
"""How far above and below its height the lateral fissure is seen."""

# The lateral fissure and the insula behind it: lines in parts of the head's half-axes.
_INSULA: Final = (((0.9, -0.1), (0.56, -0.02)), ((0.56, -0.16), (0.57, 0.14)))


class Folds(NamedTuple):
    """Distances from the folded surface, px, float32 ``[side, side]``.

    Attributes
    ----------
    open
        From the sulci in which cerebrospinal fluid is seen.
    all
        From these and the closed ends of sulci: grey matter lines them too.
    half_width
        Half-width of a sulcus: wider at the brain's surface.
    """

    open: Plane
    all: Plane
    half_width: Plane


def find_folds(head: Head, noise: Noise, depth: Plane) -> Folds:
    """Find the folds of the cortex.

    Parameters
    ----------
    head
        The head.
    noise
        The slice's noise, which bends the sulci and varies their length.
    depth
        Depth below the brain's surface, px.
    """
    sulcus = _radial_sulci(head, noise)
    reach = 10.0 + 15.0 * noise.middle[2] + 6.0 * noise.coarse[2]
    fissure = _fissure(head, noise)
    seen = np.minimum(depth, norm(sulcus, np.maximum(depth - reach, 0.0)))
    every = np.minimum(depth, norm(sulcus, np.maximum(depth - reach - 9.0, 0.0)))
    seen, every = np.minimum(seen, fissure), np.minimum(every, fissure)
    if abs(noise.height - _INSULA_HEIGHT) < _INSULA_REACH:
        insula = _insula(head, noise)
        seen, every = np.minimum(seen, insula), np.minimum(every, insula)
    half_width = head.sulcus_width * (0.9 + 0.9 * np.exp(-np.maximum(depth, 0.0) / 9.0))
    return Folds(seen, every, half_width)


def _radial_sulci(head: Head, noise: Noise) -> Plane:
    """Distance from the nearest of the lines that run inwards from the surface."""
    size = taper(noise.height)
    # Fewer where the dome is narrow, so that they keep their distance.
    around = max(_FEWEST_SULCI, round(head.sulci * size))
    phase = head.grid.theta * (around / (2 * math.pi))
    phase = phase + 1.3 * noise.coarse[0] + 0.42 * noise.middle[0]
    distance: Plane = np.abs(phase - np.rint(phase)) * head.grid.radius * (2 * math.pi / around)
    # None near the centre, where the lines would meet.
    distance += np.maximum(0.45 * head.half_axes[0] * size - head.grid.radius, 0.0)
    return distance


def _fissure(head: Head, noise: Noise) -> Plane:
    """Distance from the fissure between the hemispheres and from the sulci that leave it."""
    # Below the roof of the corpus callosum it is only in front and at the back.
    closed = 0.5 * head.half_axes[1] * (1.0 - ramp(noise.height, 0.6, 0.74))
    aside = np.abs(head.grid.x + 2.0 * noise.coarse[1] + 0.8 * noise.middle[1])
    fissure = norm(aside, np.maximum(closed - np.abs(head.grid.y), 0.0))
    fissure += 20.0 * (1.0 - ramp(noise.height, 0.36, 0.42))
    rows = head.grid.y / _MEDIAL_SPACING + 0.9 * noise.coarse[2] + 0.3 * noise.middle[1]
    row = np.abs(rows - np.rint(rows)) * _MEDIAL_SPACING
    medial = norm(row, np.maximum(fissure - 7.0 - 8.0 * noise.middle[0], 0.0))
    return np.minimum(fissure, medial)


def _insula(head: Head, noise: Noise) -> Plane:
    """Distance from the lateral fissure and the insula on both sides."""
    width, length = head.half_axes
    x = np.abs(head.grid.x + 3.0 * noise.coarse[3]) + 2.5 * noise.middle[2]
    y = head.grid.y + 3.0 * noise.middle[1]
    lines = [
        segment(x, y, (start[0] * width, start[1] * length), (end[0] * width, end[1] * length))[0]
        for start, end in _INSULA
    ]
    return np.minimum(*lines) + 60.0 * max(0.0, abs(noise.height - _INSULA_HEIGHT) - 0.06)
