"""A slice of a phantom's head without a lesion, layer upon layer, from the scalp inwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scanside_training.phantom.brain import brain_depth, paint_brain, ventricle_distance
from scanside_training.phantom.fields import edge, ellipse, norm, paint, ramp, ramp_plane
from scanside_training.phantom.head import DOME_FROM, SUBARACHNOID, face, sample_noise, surface
from scanside_training.phantom.tissues import (
    AIR,
    BONE,
    CSF,
    FALX,
    FAT,
    MARROW,
    MUSCLE,
    SKIN,
    VESSEL,
)

if TYPE_CHECKING:
    from scanside_training.phantom.fields import Plane
    from scanside_training.phantom.head import Head

__all__ = ["Anatomy", "render_anatomy"]


class Anatomy(NamedTuple):
    """One slice without a lesion.

    Attributes
    ----------
    image
        Relative intensity, float32 ``[3, side, side]``.
    brain_depth
        Depth below the brain's surface in px, negative outside, float32 ``[side, side]``.
    ventricle_distance
        Distance from the ventricles in px, negative inside, float32 ``[side, side]``.
    """

    image: Plane
    brain_depth: Plane
    ventricle_distance: Plane


def render_anatomy(head: Head, height: float) -> Anatomy:
    """Render the slice of a head at a height.

    Parameters
    ----------
    head
        From `draw_head`.
    height
        0 at the skull base, 1 near the vertex; above about 1.05 there is only air.
    """
    side = head.outline.shape[0]
    noise = sample_noise(head, height)
    _, _, middle, fine = noise
    outline = face(head, height)
    outer = surface(head, outline, np.zeros_like(outline), height)
    bone = surface(head, outline, head.scalp, height)
    inner = surface(head, outline, head.scalp + head.skull, height)

    image = np.empty((3, side, side), np.float32)
    image[:] = np.array(AIR, np.float32)[:, np.newaxis, np.newaxis]
    # Near the vertex a slice cuts the scalp at a slant: its border is a wide blur.
    slant = 1.0 + 9.0 * ramp(height, 0.78, 1.0)
    paint(image, edge(outer / slant), SKIN)
    fat = np.array(FAT, np.float32) * head.fat
    lobules = np.clip(1.0 - 0.14 * np.abs(fine[0]) - 0.1 * middle[2], 0.5, 1.0)
    paint(image, edge((outer - 2.2) / slant) * lobules, fat)
    temple = np.abs(head.grid.x) / head.half_axes[0] - 0.55 - 4.0 * abs(height - 0.42)
    paint(image, edge(outer - 4.0) * edge(temple * 12), MUSCLE)

    # From the cranial cavity upwards the bone is a shell; below it is all through the base.
    cavity = ramp(height, 0.2, 0.3)
    shell = edge(bone / slant) * cavity
    paint(image, shell, BONE)
    inside = cavity * edge(inner) + (1.0 - cavity) * edge(bone)
    _paint_base(image, head, inside, fine[0] + 0.8 * middle[0], height)
    middle_layer = 2.0 + 0.8 * middle[1] - np.abs(0.5 * (bone + inner))
    diploe = np.clip(middle_layer / 2, 0.0, 1.0) * (1.0 - edge(inner))
    paint(image, shell * diploe * 0.6, MARROW)
    _paint_orbits(image, head, height, fat)

    depths = brain_depth(head, inner, noise)
    ventricle = ventricle_distance(head, noise)
    paint(image, edge(np.minimum(depths[0] + SUBARACHNOID, inner)), CSF)
    paint_brain(image, head, noise, depths, ventricle)
    _paint_sinus(image, head, inner, height)
    return Anatomy(image, depths[0], ventricle)


def _paint_base(image: Plane, head: Head, inside: Plane, noise: Plane, height: float) -> None:
    """Skull base and face: muscle, fat, bone and air, much the same on both sides."""
    share = 1.0 - ramp(height, 0.36, 0.44)
    if share == 0.0:
        return
    width, length = head.half_axes
    x, y = np.abs(head.grid.x), head.grid.y
    noise = np.where(head.grid.x > 0, noise, 0.85 * noise[:, ::-1])
    within = inside * share
    paint(image, within, MUSCLE)
    fat = np.array(FAT, np.float32) * head.fat * 0.8
    paint(image, within * ramp_plane(noise, 0.1, 1.5), fat)
    paint(image, within * ramp_plane(-noise, 0.2, 0.9), BONE)
    low = 1.0 - ramp(height, 0.16, 0.26)
    antrum = ellipse((x - 0.36 * width) / (0.17 * width), (y + 0.5 * length) / (0.2 * length), 12)
    paint(image, within * edge(antrum + 2.0 * noise) * low, AIR)
    nose = ellipse(x / (0.17 * width), (y + 0.62 * length) / (0.36 * length), 12)
    conchae = np.clip(0.5 + np.cos(x * np.float32(0.62) + 0.8 * noise), 0.0, 1.0)
    paint(image, within * edge(nose), AIR)
    paint(image, within * edge(nose) * conchae, MUSCLE)


def _paint_orbits(image: Plane, head: Head, height: float, fat: Plane) -> None:
    size = 13.5 * (1.0 - ((height - 0.24) / 0.1) ** 2)
    if size <= 0.0:
        return
    width, length = head.half_axes
    x, y = np.abs(head.grid.x) - 0.38 * width, head.grid.y + 0.7 * length
    # The socket narrows backwards and inwards.
    back = np.maximum(y, 0.0)
    socket = size + 3.0 - 0.3 * back - norm(x + 0.35 * back, 0.55 * y)
    paint(image, edge(socket / 2.0), fat * 0.75)
    nerve = 1.8 - np.abs(x + 0.3 * back) - 40.0 * (back <= 0)
    paint(image, edge(nerve) * edge(socket), MUSCLE)
    globe = size - norm(x, y)
    paint(image, edge(globe), MUSCLE)
    paint(image, edge(globe - 1.5), CSF)


def _paint_sinus(image: Plane, head: Head, inner: Plane, height: float) -> None:
    """Falx and the sagittal sinus, bright after contrast."""
    if height < DOME_FROM * 0.8:
        return
    off = np.abs(head.grid.x)
    within = edge(inner + 2.0)
    paint(image, within * edge(0.8 - off) * edge(14.0 - inner), FALX)
    back = head.grid.y > 0
    size = np.where(back, 3.6, 2.2)
    sinus = size - norm(off, inner - 1.5)
    paint(image, within * edge(sinus), VESSEL)
