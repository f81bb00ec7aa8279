"""From ideal intensities to the grey levels of a scanner: gain, bias, blur, ghost and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from scanside_training.phantom.fields import draw_lattice, sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside_training.phantom.fields import Plane

__all__ = ["Scanner", "acquire", "draw_scanner"]


class Scanner(NamedTuple):
    """How a patient's slices are acquired, each value by sequence.

    Attributes
    ----------
    gain
        Grey level of the brain.
    noise
        Standard deviation of the noise in each of the two quadrature channels, grey levels.
    bias
        Lattice of the bias field.
    blur
        Standard deviation of the blur in pixels.
    motion
        Share of the signal that lies one pixel away.
    """

    gain: Plane
    noise: Plane
    bias: Plane
    blur: float
    motion: float


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw a scanner's settings at random: grey levels and noise as in the LGG dataset."""
    gain = np.exp(rng.normal(np.log((59.0, 57.0, 59.0)), (0.26, 0.2, 0.23)))
    noise = np.exp(rng.normal(np.log((0.85, 1.9, 1.25)), 0.3))
    return Scanner(
        gain=np.clip(gain, 32.0, 95.0).astype(np.float32),
        noise=noise.astype(np.float32),
        bias=draw_lattice(rng, 3, 4, 3),
        blur=float(rng.uniform(0.5, 0.8)),
        motion=float(max(0.0, rng.normal(0.0, 0.15))),
    )


def acquire(
    ideal: Plane, scanner: Scanner, rng: np.random.Generator, height: float
) -> NDArray[np.uint8]:
    """Acquire a slice.

    Parameters
    ----------
    ideal
        Relative intensity, float32 ``[3, side, side]``.
    scanner
        From `draw_scanner`.
    rng
        Where the noise comes from.
    height
        The slice's height, 0 to 1.

    Returns
    -------
    ndarray of uint8
        ``[side, side, 3]``.

    References
    ----------
    The magnitude of a complex signal with Gaussian noise is Rician: Gudbjartsson and Patz, "The
    Rician distribution of noisy MRI data", Magn. Reson. Med. 34 (1995).
    """
    side = ideal.shape[1]
    bias = np.exp(0.11 * sample(scanner.bias, height, side))
    signal = np.moveaxis(ideal * bias * scanner.gain[:, np.newaxis, np.newaxis], 0, 2)
    # A faint ghost, as the pulse of large vessels leaves along the phase direction.
    signal += 0.012 * np.roll(signal, side // 3, axis=0)
    share = scanner.motion
    kernel = np.array([share / 2, 1.0 - share, share / 2], np.float32).reshape(3, 1)
    signal = cv2.filter2D(np.ascontiguousarray(signal), -1, kernel)
    signal = cv2.GaussianBlur(signal, (0, 0), scanner.blur)
    noise = rng.standard_normal((2, side, side, 3), dtype=np.float32) * scanner.noise
    magnitude = np.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
    # The dataset's slices were resampled to a common grid, which smooths the noise a little.
    magnitude = cv2.GaussianBlur(magnitude, (3, 3), 0.6)
    grey: NDArray[np.uint8] = np.rint(np.clip(magnitude, 0.0, 255.0)).astype(np.uint8)
    return grey
