"""A phantom's head: what is drawn once a patient, and the surfaces of its layers.

Lengths are in units of 1/256 of the slice's side ("px", pixels of a 256 x 256 slice), and the
height runs from 0 (skull base) to 1 (near the vertex). The figures were set beside real slices.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside_training.phantom.fields import draw_lattice, norm, ramp, sample

if TYPE_CHECKING:
    from scanside_training.phantom.fields import Plane

__all__ = [
    "DOME_FROM",
    "SUBARACHNOID",
    "Grid",
    "Head",
    "Noise",
    "draw_head",
    "face",
    "sample_noise",
    "surface",
    "taper",
]

_UNIT: Final = 256.0
"""Lengths are given for a slice of this many pixels a side."""

_RISE: Final = 164.0
"""Length in px of the whole range of heights: a thickness of 1 px is 1/164 of it."""

DOME_FROM: Final = 0.5
"""Height above which the head tapers."""

_DOME_TO: Final = 1.05
"""Height at which the scalp ends."""

_BRAIN_INSET: Final = 13.0
"""About how far inside the scalp the brain begins, px."""

SUBARACHNOID: Final = 2.2
"""Width of the fluid between skull and brain, px."""


class Grid(NamedTuple):
    """Coordinates of a slice's pixels in the head's frame, each float32 ``[side, side]``.

    Attributes
    ----------
    x, y
        To the image's right and to the back of the head, px from its centre.
    theta, radius
        The same in polar form: 0 to the right, pi/2 to the back; px.
    """

    x: Plane
    y: Plane
    theta: Plane
    radius: Plane


class Head(NamedTuple):
    """A patient's head: everything that `render_anatomy` needs.

    Attributes
    ----------
    grid
        The pixels' coordinates.
    half_axes
        Half of the head's width and length at its widest, px.
    outline
        Radius of the scalp at the widest slice, px, float32 ``[side, side]`` by direction.
    scalp, skull
        Thickness of the layers, px, float32 ``[side, side]`` by direction.
    sulci
        Number of sulci around the brain.
    sulcus_width, ventricle_scale
        Half-width of a sulcus in px, and the width of the ventricles: both grow with age.
    contrast
        How far grey and white matter differ in each sequence, as a share of the table's values.
    fat
        Brightness of fat in each sequence, as a share of the table's values (fat suppression).
    caps, spots
        Strength of the periventricular caps and of small bright spots in FLAIR: no lesions.
    coarse, middle, fine
        Lattices of noise with cells of about 32, 14 and 5 px, and 4, 3 and 2 planes.
    """

    grid: Grid
    half_axes: tuple[float, float]
    outline: Plane
    scalp: Plane
    skull: Plane
    sulci: int
    sulcus_width: float
    ventricle_scale: float
    contrast: Plane
    fat: Plane
    caps: float
    spots: float
    coarse: Plane
    middle: Plane
    fine: Plane


class Noise(NamedTuple):
    """A head's smooth noise in one slice.

    Attributes
    ----------
    height
        The slice's height, 0 to 1.
    coarse, middle, fine
        float32 ``[4, side, side]``, ``[3, side, side]`` and ``[2, side, side]``.
    """

    height: float
    coarse: Plane
    middle: Plane
    fine: Plane


def draw_head(rng: np.random.Generator, side: int) -> Head:
    """Draw a head at random.

    Parameters
    ----------
    rng
        Where the randomness comes from.
    side
        Height and width of the slices in pixels.
    """
    half_width = rng.normal(86.0, 6.0)
    half_length = half_width * rng.normal(1.27, 0.05)
    grid = _draw_grid(rng, side)
    # Ellipse, blunter than one at the sides, narrower in front, with a little asymmetry.
    cos, sin = np.cos(grid.theta), np.sin(grid.theta)
    exponent = rng.uniform(1.95, 2.2)
    outline = (np.abs(cos / half_width) ** exponent + np.abs(sin / half_length) ** exponent) ** (
        -1.0 / exponent
    )
    outline *= 1.0 + rng.uniform(0.01, 0.06) * sin * cos**2
    outline *= 1.0 + _harmonics(rng, grid.theta, 0.012)
    scalp = rng.uniform(4.5, 8.5) * (1.0 + _harmonics(rng, grid.theta, 0.12) + 0.15 * sin)
    skull = rng.uniform(6.0, 8.5) * (1.0 + _harmonics(rng, grid.theta, 0.08) + 0.12 * np.abs(sin))
    return Head(
        grid=grid,
        half_axes=(float(half_width), float(half_length)),
        outline=outline.astype(np.float32),
        scalp=scalp.astype(np.float32),
        skull=skull.astype(np.float32),
        sulci=int(rng.integers(30, 42)),
        sulcus_width=float(rng.uniform(0.35, 1.1)),
        ventricle_scale=float(rng.uniform(0.6, 1.5)),
        contrast=rng.uniform((0.35, 0.6, 0.3), (1.4, 1.4, 1.3)).astype(np.float32),
        fat=rng.uniform((0.85, 0.8, 0.75), (1.15, 1.15, 1.35)).astype(np.float32),
        caps=float(rng.uniform(0.0, 0.6)),
        spots=float(rng.uniform(-0.9, 0.2)),
        coarse=draw_lattice(rng, 7, 8, 4),
        middle=draw_lattice(rng, 12, 18, 3),
        fine=draw_lattice(rng, 24, 50, 2),
    )


def sample_noise(head: Head, height: float) -> Noise:
    """Interpolate a head's noise at a height."""
    side = head.outline.shape[0]
    return Noise(
        height,
        sample(head.coarse, height, side),
        sample(head.middle, height, side),
        sample(head.fine, height, side),
    )


def face(head: Head, height: float) -> Plane:
    """Outline at this height, before the dome's taper: towards the base a nose and cheeks."""
    share = 1.0 - ramp(height, 0.12, 0.34)
    if share == 0.0:
        return head.outline
    front = -np.sin(head.grid.theta)
    aside = np.cos(head.grid.theta)
    nose = 0.16 * np.exp(-((aside / 0.09) ** 2)) * (front > 0)
    cheeks = -0.1 * np.exp(-(((np.abs(aside) - 0.75) / 0.25) ** 2)) * np.clip(front * 3, 0, 1)
    neck = -0.14 * ramp(0.3 - height, 0.0, 0.3) * np.clip(-front, 0, 1)
    outline: Plane = head.outline * (1.0 + share * (nose + cheeks - 0.02) + neck)
    return outline


def surface(head: Head, outline: Plane, inset: Plane, height: float) -> Plane:
    """Depth in px below the surface that lies `inset` px inside the scalp."""
    top = _DOME_TO - DOME_FROM - inset / _RISE
    left = 1.0 - (max(0.0, height - DOME_FROM) / top) ** 2
    depth: Plane = np.sqrt(np.maximum(left, 0.0)) * (outline - inset) - head.grid.radius
    # Above its top a surface is nowhere.
    depth[left <= 0] = -_UNIT
    return depth


def taper(height: float) -> float:
    """Size of the brain's outline at this height, as a share of the largest; never 0."""
    top = _DOME_TO - DOME_FROM - _BRAIN_INSET / _RISE
    return math.sqrt(max(0.02, 1.0 - (max(0.0, height - DOME_FROM) / top) ** 2))


def _draw_grid(rng: np.random.Generator, side: int) -> Grid:
    angle = rng.normal(0.0, 0.05)
    centre = rng.normal((0.5, 3.0), (2.5, 5.0))
    ticks = (np.arange(side, dtype=np.float32) + 0.5) * (_UNIT / side) - _UNIT / 2
    across, down = np.meshgrid(ticks - centre[0], ticks - centre[1])
    x = (across * np.cos(angle) + down * np.sin(angle)).astype(np.float32)
    y = (down * np.cos(angle) - across * np.sin(angle)).astype(np.float32)
    return Grid(x, y, np.arctan2(y, x), norm(x, y))


def _harmonics(rng: np.random.Generator, theta: Plane, amplitude: float) -> Plane:
    total = np.zeros_like(theta)
    for order in range(2, 7):
        phase, strength = rng.uniform(0, 2 * np.pi), rng.normal(0.0, amplitude / order)
        total += np.float32(strength * 2) * np.cos(order * theta + np.float32(phase))
    return total
