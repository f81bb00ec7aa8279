"""The lesion of a phantom: an irregular blob in three dimensions, and how it looks.

The mask is the support that is painted: nothing outside it changes before the slice is blurred.
Units are those of `scanside_training.phantom.head`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

from scanside_training.phantom.fields import draw_lattice, paint, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside_training.phantom.anatomy import Anatomy
    from scanside_training.phantom.fields import Plane
    from scanside_training.phantom.head import Head

__all__ = ["Lesion", "draw_lesion", "paint_lesion"]

_SMALLEST_PART: Final = 40.0
"""Parts of a mask below this many px (of a 256 x 256 slice) are left out: no reader outlines
them."""

_SHARE_WITH: Final = 0.4
"""Share of the lesions with a core, and of those that enhance."""

_FROM_SURFACE: Final = 0.5
_FROM_VENTRICLE: Final = 0.8
"""How far a mask stays below the brain's surface, and away from the ventricles, px."""


class Lesion(NamedTuple):
    """A lesion: where it is, and its intensity relative to the tissue around it.

    Attributes
    ----------
    centre
        x and y in px, height from 0 to 1.
    radii
        Half-axes of the ellipsoid in the same units.
    angle
        Rotation of the ellipsoid in the slice, radians.
    irregularity
        How far the border leaves the ellipsoid, as a share of its radius.
    softness
        Width of the border's ramp as a share of the radius.
    contrast
        Relative intensity in pre-contrast T1, FLAIR and post-contrast T1.
    core
        Share of the radius that is a cyst or necrosis, dark in each sequence; 0 for none.
    enhancement
        Brightness that contrast medium adds around the core; 0 for none.
    coarse, fine
        Lattices of noise for the border and the texture.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float
    irregularity: float
    softness: float
    contrast: tuple[float, float, float]
    core: float
    enhancement: float
    coarse: Plane
    fine: Plane


def draw_lesion(rng: np.random.Generator, head: Head, heights: Sequence[float]) -> Lesion:
    """Draw a lesion that crosses at least one of the slices and leaves others free.

    Parameters
    ----------
    rng
        Where the randomness comes from.
    head
        The head that it lies in.
    heights
        Heights of the slices, increasing.
    """
    width, length = head.half_axes
    radius = float(np.exp(np.clip(rng.normal(np.log(29.5), 0.4), np.log(12.0), np.log(52.0))))
    direction = rng.uniform(0.0, 2.0 * np.pi)
    away = rng.uniform(0.35, 0.62)
    # A centre on a slice: even a small lesion in a thin stack is seen.
    wanted = rng.uniform(0.38, 0.74)
    height = min(heights, key=lambda at: abs(at - wanted))
    tall = float(np.clip(rng.normal(0.142, 0.042) * (radius / 30.0) ** 0.35, 0.05, 0.25))
    squeeze = float(np.exp(rng.normal(0.0, 0.18)))
    x = away * width * float(np.cos(direction))
    x = float(np.copysign(max(abs(x), 0.18 * width), x))
    flair = float(np.exp(np.clip(rng.normal(0.46, 0.17), 0.2, 0.8)))
    dark = float(np.clip(rng.normal(0.83, 0.1), 0.62, 1.02))
    cystic, enhancing = rng.random(2) < _SHARE_WITH
    return Lesion(
        centre=(x, away * length * float(np.sin(direction)), height),
        radii=(radius * squeeze, radius / squeeze, tall),
        angle=float(rng.uniform(0.0, np.pi)),
        irregularity=float(rng.uniform(0.15, 0.5)),
        softness=float(rng.uniform(0.1, 0.45)),
        contrast=(dark, flair, dark * float(rng.uniform(0.95, 1.06))),
        core=float(rng.uniform(0.25, 0.5)) if cystic else 0.0,
        enhancement=float(rng.uniform(0.4, 1.3)) if enhancing else 0.0,
        coarse=draw_lattice(rng, 5, 14, 2),
        fine=draw_lattice(rng, 24, 40, 1),
    )


def paint_lesion(lesion: Lesion, head: Head, anatomy: Anatomy, height: float) -> NDArray[np.uint8]:
    """Paint what this slice shows of a lesion, in place.

    Parameters
    ----------
    lesion, head
        The lesion and the head that it lies in.
    anatomy
        The slice; its image is changed inside the returned mask and nowhere else.
    height
        The slice's height.

    Returns
    -------
    ndarray of uint8
        The mask, 0 or 1, ``[side, side]``.
    """
    side = head.outline.shape[0]
    mask = np.zeros((side, side), np.uint8)
    if abs(height - lesion.centre[2]) > lesion.radii[2] * (1.0 + 0.5 * lesion.irregularity):
        # Further off the noise would leave islands, with free slices between.
        return mask
    coarse, fine = sample(lesion.coarse, height, side), sample(lesion.fine, height, side)[0]
    # Limited, so that the noise never eats the lesion's middle: every patient has a lesion.
    border = np.clip(coarse[0] + 0.35 * fine, -1.3, 1.3)
    level = _level(lesion, head, height) + lesion.irregularity * border
    inside = (level > 0) & (anatomy.brain_depth > _FROM_SURFACE)
    inside &= anatomy.ventricle_distance > _FROM_VENTRICLE
    mask = _without_specks(inside.astype(np.uint8), _SMALLEST_PART * (side / 256.0) ** 2)
    if not mask.any():
        return mask
    # Inside the mask the lesion starts at a visible step and gains over the soft border.
    weight = mask * (0.4 + 0.6 * np.clip(level / lesion.softness, 0.0, 1.0))
    texture = 1.0 + 0.08 * coarse[1] + 0.05 * fine
    core_edge = level - (1.0 - lesion.core)
    core = np.clip(core_edge * 8.0, 0.0, 1.0) if lesion.core else np.zeros_like(level)
    flair = lesion.contrast[1] * texture * (1.0 - 0.3 * core)
    pre = lesion.contrast[0] * (1.0 - 0.25 * core) * (1.0 + 0.03 * coarse[1])
    ring = np.exp(-(((level - 0.62 + 0.25 * lesion.core) / 0.1) ** 2))
    nodule = np.clip((level - 0.5 + 0.4 * coarse[1] + 0.1 * fine) * 2.0, 0.0, 1.0) * (1.0 - core)
    bright = lesion.enhancement * (ring if lesion.core else nodule)
    post = lesion.contrast[2] * (1.0 - 0.25 * core) * (1.0 + 0.03 * coarse[1]) + bright
    paint(anatomy.image, weight, (pre, flair, post))
    return mask


def _level(lesion: Lesion, head: Head, height: float) -> Plane:
    """1 at the centre, 0 on the ellipsoid, negative outside."""
    x, y = head.grid.x - lesion.centre[0], head.grid.y - lesion.centre[1]
    cos, sin = np.float32(np.cos(lesion.angle)), np.float32(np.sin(lesion.angle))
    across, along = (x * cos + y * sin) / lesion.radii[0], (y * cos - x * sin) / lesion.radii[1]
    up = (height - lesion.centre[2]) / lesion.radii[2]
    # The other hemisphere is reached only where the lesion is large.
    beyond = np.maximum(-head.grid.x * np.float32(np.sign(lesion.centre[0])), 0.0)
    return np.asarray(1.0 - np.sqrt(across**2 + along**2 + up**2) - 0.045 * beyond, np.float32)


def _without_specks(mask: NDArray[np.uint8], smallest: float) -> NDArray[np.uint8]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest
    keep[0] = False
    kept: NDArray[np.uint8] = keep[labels].astype(np.uint8)
    return kept
