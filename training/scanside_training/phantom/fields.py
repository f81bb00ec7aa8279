"""Smooth noise, and the few shapes of which a phantom is drawn, on whole planes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Plane",
    "draw_lattice",
    "edge",
    "ellipse",
    "norm",
    "paint",
    "ramp",
    "ramp_plane",
    "sample",
    "segment",
]

Plane: TypeAlias = NDArray[np.floating[Any]]
"""float32 ``[side, side]`` unless said otherwise."""


def draw_lattice(rng: np.random.Generator, layers: int, cells: int, planes: int = 1) -> Plane:
    """Draw the standard normal values from which `sample` interpolates smooth 3-D noise.

    Returns
    -------
    ndarray of float32
        ``[layers, cells, cells, planes]``.
    """
    return rng.standard_normal((layers, cells, cells, planes), dtype=np.float32)


def sample(lattice: Plane, height: float, side: int) -> Plane:
    """Interpolate a slice of smooth noise, continuous from slice to slice.

    Parameters
    ----------
    lattice
        From `draw_lattice`.
    height
        0 to 1, from the first to the last layer; clipped.
    side
        Height and width of the result in pixels.

    Returns
    -------
    ndarray of float32
        ``[planes, side, side]``, mean 0, standard deviation of about 0.6.
    """
    position = min(max(height, 0.0), 1.0) * (lattice.shape[0] - 1)
    below = min(int(position), lattice.shape[0] - 2)
    part = position - below
    # Weights with a constant sum of squares, so that the noise is as strong between the layers.
    turn = part * math.pi / 2
    layer = math.cos(turn) * lattice[below] + math.sin(turn) * lattice[below + 1]
    planes = cv2.resize(layer, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(np.moveaxis(planes.reshape(side, side, -1), 2, 0))


def paint(image: Plane, alpha: Plane, tissue: Sequence[float | Plane] | Plane) -> None:
    """Blend a tissue over an image in place.

    Parameters
    ----------
    image
        float32 ``[3, side, side]``; changed.
    alpha
        How much of the tissue there is at each pixel, 0 to 1.
    tissue
        The tissue's intensity in each sequence: three numbers, or three planes.
    """
    for channel, value in enumerate(tissue):
        image[channel] += alpha * (np.asarray(value, np.float32) - image[channel])


def edge(depth: Plane) -> Plane:
    """1 where the depth is positive, else 0, with a border one px wide."""
    covered: Plane = np.clip(depth + 0.5, 0.0, 1.0)
    return covered


def ramp(value: float, low: float, high: float) -> float:
    """Smooth step from 0 at `low` to 1 at `high`."""
    part = min(max((value - low) / (high - low), 0.0), 1.0)
    return part * part * (3.0 - 2.0 * part)


def ramp_plane(value: Plane, low: float, high: float) -> Plane:
    """Rise in a straight line from 0 at `low` to 1 at `high`."""
    risen: Plane = np.clip((value - low) / (high - low), 0.0, 1.0)
    return risen


def ellipse(across: Plane, along: Plane, size: float) -> Plane:
    """About the depth in px inside an ellipse of half-axis `size`; coordinates in half-axes."""
    return (1.0 - norm(across, along)) * size


def segment(
    x: Plane, y: Plane, start: tuple[float, float], end: tuple[float, float]
) -> tuple[Plane, Plane]:
    """Distance from a line segment, and how far along it the nearest point lies, 0 to 1."""
    across, along = end[0] - start[0], end[1] - start[1]
    part = ((x - start[0]) * across + (y - start[1]) * along) / (across**2 + along**2)
    part = np.clip(part, 0.0, 1.0)
    return norm(x - start[0] - part * across, y - start[1] - part * along), part


def norm(across: Plane, along: Plane) -> Plane:
    """Length of a vector; several times as fast as `numpy.hypot`, which guards the overflow."""
    size: Plane = np.sqrt(across * across + along * along)
    return size
