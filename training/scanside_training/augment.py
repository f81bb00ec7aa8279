"""Random variation of a slice and its mask: pure functions with an explicit generator.

Geometry moves image and mask by the same map; the mask stays binary. Intensity touches the
image alone. Every function takes and gives ``image`` uint8 ``[S, S, 3]`` (pre-contrast, FLAIR,
post-contrast) and, where geometry is concerned, ``mask`` uint8 ``[S, S]`` of 0 and 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside_training.config import AugmentConfig

    Image = NDArray[np.uint8]
    Mask = NDArray[np.uint8]

__all__ = [
    "add_noise",
    "augment",
    "carve_cavity",
    "drop_sequences",
    "flip",
    "vary_intensity",
    "warp",
]

_FLAIR: Final = 1

_ELASTIC_GRID: Final = 4
"""Control points a side of the elastic field: deformations of the size of a lobe, not of a
lesion, so that outlines stay plausible."""

_CAVITY_GRID: Final = 6
"""Control points a side of the random field that shapes a cavity: lobes of a few centimetres."""

_CAVITY_RIM: Final = 8.0
"""Largest thickness of the tumour around a cavity, in pixels of a slice of 256."""

_CAVITY_LEVELS: Final = ((0.35, 0.8), (0.08, 0.5), (0.35, 0.8))
"""What is left of the grey level in a cavity, least and most by sequence: fluid is darkest in
FLAIR, which suppresses it, and dark in the T1-weighted sequences."""

_ONLY_POST_SHARE: Final = 0.4
"""Of the studies that lack a sequence, the share that lacks post-contrast alone (4 of 10 of the
LGG dataset; the other 6 lack pre-contrast too)."""


def augment(
    image: Image, mask: Mask, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """Vary a slice and its mask.

    Parameters
    ----------
    image
        uint8 ``[S, S, 3]``.
    mask
        uint8 ``[S, S]`` of 0 and 1.
    config
        Probabilities and amounts.
    rng
        The only source of randomness; the same state gives the same result.

    Returns
    -------
    image, mask
        New arrays of the same shapes and dtypes.
    """
    image, mask = flip(
        image,
        mask,
        horizontal=rng.random() < config.flip_horizontal,
        vertical=rng.random() < config.flip_vertical,
    )
    side = image.shape[0]
    grid = _grid(side)
    moved = False
    if rng.random() < config.affine:
        grid = grid @ _linear(config, rng).T + rng.uniform(-config.shift, config.shift, 2) * side
        moved = True
    if rng.random() < config.elastic:
        grid = grid + _elastic(side, config.elastic_share * side, rng)
        moved = True
    if moved:
        image, mask = warp(image, mask, grid + (side - 1) / 2)
    if mask.any() and rng.random() < config.cavity:
        image = carve_cavity(image, mask, rng)
    if rng.random() < config.missing_sequence:
        image = drop_sequences(image, only_post=rng.random() < _ONLY_POST_SHARE)
    image = vary_intensity(image, config, rng)
    if rng.random() < config.noise:
        image = add_noise(image, rng.uniform(0.0, config.noise_levels), rng)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def flip(image: Image, mask: Mask, *, horizontal: bool, vertical: bool) -> tuple[Image, Mask]:
    """Mirror left to right (`horizontal`) and top to bottom (`vertical`)."""
    rows = slice(None, None, -1 if vertical else 1)
    columns = slice(None, None, -1 if horizontal else 1)
    return image[rows, columns], mask[rows, columns]


def warp(image: Image, mask: Mask, source: NDArray[np.float32]) -> tuple[Image, Mask]:
    """Move image and mask by one map.

    Parameters
    ----------
    image, mask
        The slice and its mask.
    source
        ``[S, S, 2]``: for every target pixel the source column and row in pixels. Outside the
        slice is black and tumour-free.

    Returns
    -------
    image, mask
        Bilinear; the mask is 1 where the interpolated mask is at least one half.
    """
    columns = np.ascontiguousarray(source[..., 0], np.float32)
    rows = np.ascontiguousarray(source[..., 1], np.float32)
    moved = np.asarray(
        cv2.remap(np.ascontiguousarray(image), columns, rows, cv2.INTER_LINEAR), np.uint8
    )
    if not mask.any():
        return moved, np.zeros_like(mask)
    # 0 and 254 in place of 0 and 1: the interpolation rounds to whole levels.
    soft = cv2.remap(np.ascontiguousarray(mask) * np.uint8(254), columns, rows, cv2.INTER_LINEAR)
    return moved, (soft >= 127).astype(np.uint8)  # noqa: PLR2004


def carve_cavity(image: Image, mask: Mask, rng: np.random.Generator) -> Image:
    """Darken a part of the tumour as a cyst or necrosis does; it stays tumour.

    The masks of the LGG dataset go around a dark cavity and never leave it out, but hardly any
    patient has a large one: a model that sees none more takes it for a ventricle.

    Parameters
    ----------
    image, mask
        The slice and its mask, which must not be empty.
    rng
        The only source of randomness.
    """
    side = image.shape[0]
    depth = cv2.distanceTransform(np.ascontiguousarray(mask), cv2.DIST_L2, 3)
    inside = depth > rng.uniform(0.0, _CAVITY_RIM) * side / 256
    coarse = rng.uniform(-1.0, 1.0, (_CAVITY_GRID, _CAVITY_GRID)).astype(np.float32)
    # Over the tumour's own rectangle, so that small and large ones are carved alike.
    left, top, width, height = cv2.boundingRect(mask)
    box = np.s_[top : top + height, left : left + width]
    field = np.zeros((side, side), np.float32)
    field[box] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    hollow = (inside & (field > rng.uniform(-1.0, 0.3))).astype(np.float32)
    share = cv2.GaussianBlur(hollow, (0, 0), rng.uniform(0.5, 2.0) * side / 256)[..., np.newaxis]
    low, high = np.array(_CAVITY_LEVELS, np.float32).T
    kept = rng.uniform(low, high).astype(np.float32)
    carved: Image = np.rint(image * (1.0 - share * (1.0 - kept))).astype(np.uint8)
    return carved


def drop_sequences(image: Image, *, only_post: bool) -> Image:
    """Let FLAIR stand in for post-contrast, and unless `only_post` for pre-contrast too."""
    result: Image = image.copy()
    result[..., 2] = image[..., _FLAIR]
    if not only_post:
        result[..., 0] = image[..., _FLAIR]
    return result


def vary_intensity(image: Image, config: AugmentConfig, rng: np.random.Generator) -> Image:
    """Apply a random gain, offset and gamma to each sequence on its own.

    Black stays black: the background of a slice carries no offset in real studies either.
    """
    levels = np.arange(256, dtype=np.float32)
    tables = np.empty((256, image.shape[2]), np.uint8)
    for channel in range(image.shape[2]):
        gain = 1.0 + rng.uniform(-config.gain, config.gain)
        offset = rng.uniform(-config.offset, config.offset)
        gamma = 2.0 ** rng.uniform(-config.gamma, config.gamma)
        table = levels
        if rng.random() < config.intensity:
            table = 255.0 * (levels / 255.0) ** np.float32(gamma) * gain + offset
            table[0] = 0.0
        tables[:, channel] = np.rint(np.clip(table, 0.0, 255.0)).astype(np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(image), tables[np.newaxis]), np.uint8)


def add_noise(image: Image, levels: float, rng: np.random.Generator) -> Image:
    """Add Gaussian noise with a standard deviation of `levels` grey levels."""
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(levels)
    noisy: Image = np.rint(np.clip(image + noise, 0.0, 255.0)).astype(np.uint8)
    return noisy


def _grid(side: int) -> NDArray[np.float32]:
    """Columns and rows of every pixel, from the centre of the slice."""
    axis = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def _linear(config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    angle = np.deg2rad(rng.uniform(-config.rotation_degrees, config.rotation_degrees))
    zoom = 1.0 / (1.0 + rng.uniform(-config.scale, config.scale))
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    return np.array([[cosine, -sine], [sine, cosine]], np.float32)


def _elastic(side: int, largest: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth displacements, at most about `largest` pixels, from a coarse random grid.

    References
    ----------
    Ronneberger et al. 2015, "U-Net", MICCAI: random displacements on a coarse grid.
    """
    coarse = rng.uniform(-largest, largest, (_ELASTIC_GRID, _ELASTIC_GRID, 2)).astype(np.float32)
    field = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, np.float32)
