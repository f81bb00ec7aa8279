"""The brain of a phantom: its surface, folds, ventricles and nuclei."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from scanside_training.phantom.fields import edge, ellipse, norm, paint, ramp, ramp_plane, segment
from scanside_training.phantom.folds import find_folds
from scanside_training.phantom.head import SUBARACHNOID
from scanside_training.phantom.tissues import CHOROID, CSF, DEEP_GREY, GREY, VESSEL, WHITE

if TYPE_CHECKING:
    from scanside_training.phantom.fields import Plane
    from scanside_training.phantom.head import Head, Noise

__all__ = ["brain_depth", "paint_brain", "ventricle_distance"]

# The lateral ventricle, from frontal to occipital horn: vertices in parts of the head's half-axes.
_VENTRICLE: Final = ((0.21, -0.37), (0.09, -0.2), (0.06, 0.0), (0.14, 0.17), (0.27, 0.38))
_VENTRICLE_HEIGHTS: Final = (0.38, 0.46, 0.52, 0.6, 0.67, 0.76)
# One row a height above, one radius a vertex, px; below 0 it is closed there.
_VENTRICLE_RADII: Final = (
    (-9.0, -9.0, -9.0, -9.0, -5.0),
    (1.0, 2.5, -6.0, -1.0, 3.0),
    (2.5, 4.5, -2.0, 4.0, 4.0),
    (1.5, 4.5, 3.5, 5.0, 4.0),
    (-3.0, 2.0, 4.5, 4.0, -2.0),
    (-9.0, -8.0, -6.0, -8.0, -9.0),
)


_FOLIUM: Final = 6.0
"""Distance of the cerebellum's folia, px."""


def brain_depth(head: Head, inner: Plane, noise: Noise) -> tuple[Plane, Plane]:
    """Find the brain's surface and, within it, the cerebellum's.

    Towards the skull base the brain falls apart into temporal lobes, stem and cerebellum.

    Parameters
    ----------
    head
        The head.
    inner
        Depth below the inner table of the skull, px.
    noise
        The slice's noise.

    Returns
    -------
    whole, cerebellum : ndarray of float32
        Depth below each surface in px, negative outside.
    """
    width, length = head.half_axes
    x, y, height = head.grid.x, head.grid.y, noise.height
    cerebellum = ellipse(x / (0.66 * width), (y - 0.42 * length) / (0.4 * length), 0.4 * length)
    cerebellum -= 30.0 * (1.0 - ramp(height, 0.02, 0.2))
    temporal = ellipse(
        (np.abs(x) - 0.47 * width) / (0.36 * width), (y + 0.16 * length) / (0.36 * length), 30.0
    )
    stem = ellipse(x / (0.22 * width), (y - 0.02 * length) / (0.2 * length), 18.0)
    growth = 60.0 * (height - 0.28)
    parts = np.maximum(np.maximum(temporal + growth, cerebellum + max(growth, 0.0)), stem)
    # From here upwards the frontal lobes fill the skull.
    parts += 400.0 * max(0.0, height - 0.3) + 2.0 * noise.coarse[0] * (1.0 - ramp(height, 0.3, 0.4))
    whole = np.minimum(inner - SUBARACHNOID, parts)
    # The tentorium: above it there is no cerebellum.
    return whole, np.minimum(cerebellum - 160.0 * max(0.0, height - 0.34), whole)


def ventricle_distance(head: Head, noise: Noise) -> Plane:
    """Distance in px from the lateral and the third ventricle, negative inside."""
    width, length = head.half_axes
    x = np.abs(head.grid.x + 2.0 * noise.coarse[1]) + noise.middle[0]
    y = head.grid.y + 2.0 * noise.coarse[2]
    radii = [
        float(np.interp(noise.height, _VENTRICLE_HEIGHTS, row))
        for row in zip(*_VENTRICLE_RADII, strict=True)
    ]
    points = [(across * width, along * length) for across, along in _VENTRICLE]
    third, _ = segment(x, y, (0.0, -0.04 * length), (0.0, 0.12 * length))
    distance = third - 1.6 * head.ventricle_scale + 40.0 * abs(noise.height - 0.47)
    for (start, first), (end, last) in pairwise(zip(points, radii, strict=True)):
        if max(first, last) > 0:
            away, part = segment(x, y, start, end)
            radius = (first + (last - first) * part) * head.ventricle_scale
            distance = np.minimum(distance, away - radius)
    return distance


def paint_brain(
    image: Plane, head: Head, noise: Noise, depths: tuple[Plane, Plane], ventricle: Plane
) -> None:
    """Paint the brain in place.

    Parameters
    ----------
    image
        Relative intensity, float32 ``[3, side, side]``.
    head
        The head.
    noise
        The slice's noise.
    depths
        From `brain_depth`.
    ventricle
        From `ventricle_distance`.
    """
    depth, cerebellum = depths
    inside = edge(depth)
    folds = find_folds(head, noise, depth)
    white, grey = np.array(WHITE, np.float32), np.array(GREY, np.float32)
    mean = (white + grey) / 2
    paint(image, inside, mean + (white - mean) * head.contrast)
    _paint_deep_grey(image, head, noise.height, inside)
    cortex = inside * ramp_plane(5.4 - folds.all, 0.0, 2.2)
    paint(image, cortex, mean + (grey - mean) * head.contrast)
    # Some of the cortex is brighter in FLAIR than the rest: no lesion.
    image[1] += 0.22 * inside * edge(4.0 - folds.all) * np.clip(noise.coarse[3], 0.0, 1.0)
    mottled = 0.03 * noise.middle[1] + 0.02 * noise.fine[0]
    image *= 1.0 + inside * mottled
    sulcus = inside * edge((folds.half_width - folds.open) * 1.4)
    paint(image, sulcus, CSF)
    # Vessels run in the sulci.
    paint(image, sulcus * ramp_plane(noise.fine[1], 0.7, 1.6), VESSEL)
    _paint_cerebellum(image, head, cerebellum, noise.fine[0])
    _paint_hyperintensities(image, head, noise, depth, ventricle)
    paint(image, edge(-ventricle) * inside, CSF)
    plexus = (
        edge(-ventricle - 1.0) * edge(head.grid.y / 4 - 3) * ramp_plane(noise.fine[1], 0.3, 1.3)
    )
    paint(image, plexus * inside * ramp(0.66 - noise.height, 0.0, 0.03), CHOROID)


def _paint_hyperintensities(
    image: Plane, head: Head, noise: Noise, depth: Plane, ventricle: Plane
) -> None:
    """Bright in FLAIR, and no lesion: caps around the ventricles, and small spots."""
    caps = np.exp(-((np.maximum(ventricle, 0.0) / 3.0) ** 2)) * edge(depth - 4)
    image[1] += head.caps * caps * np.clip(0.3 + 0.8 * noise.coarse[1], 0.0, 1.0)
    spots = edge((noise.fine[0] - 1.9 + head.spots) * 3) * edge(depth - 12) * edge(ventricle)
    image[1] += 0.45 * spots


def _paint_deep_grey(image: Plane, head: Head, height: float, inside: Plane) -> None:
    share = ramp(height, 0.4, 0.44) * (1.0 - ramp(height, 0.55, 0.6))
    if share == 0.0:
        return
    width, length = head.half_axes
    x, y = np.abs(head.grid.x), head.grid.y
    thalamus = ellipse(
        (x - 0.13 * width) / (0.12 * width), (y - 0.05 * length) / (0.14 * length), 10
    )
    tilted = x - 0.36 * width - 0.22 * (y + 0.08 * length)
    putamen = ellipse(tilted / (0.08 * width), (y + 0.09 * length) / (0.19 * length), 7)
    caudate = ellipse((x - 0.2 * width) / (0.07 * width), (y + 0.24 * length) / (0.1 * length), 6)
    for nucleus in (thalamus, putamen, caudate):
        paint(image, inside * edge(nucleus) * share, DEEP_GREY)


def _paint_cerebellum(image: Plane, head: Head, depth: Plane, noise: Plane) -> None:
    if depth.max() <= 0:
        return
    inside = edge(depth)
    paint(image, inside, DEEP_GREY)
    folia = 0.5 + 0.5 * np.cos((depth + 1.6 * noise) * (2 * math.pi / _FOLIUM))
    lobes = np.clip(np.abs(head.grid.x) / 8 - 0.5, 0.0, 1.0) * np.clip(depth / 4, 0.0, 1.0)
    image *= 1.0 - 0.3 * inside * folia**4 * lobes * np.clip(0.8 + noise, 0.0, 1.0)
    fourth = norm(head.grid.x, (head.grid.y - 0.2 * head.half_axes[1]) * 1.4)
    paint(image, inside * edge(5.0 - fourth), CSF)
