"""A phantom patient: the slices of one head, acquired by one scanner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import UsageError
from scanside_training.phantom.anatomy import render_anatomy
from scanside_training.phantom.head import draw_head
from scanside_training.phantom.lesion import draw_lesion, paint_lesion
from scanside_training.phantom.scanner import acquire, draw_scanner

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MAX_SEED",
    "MAX_SLICES",
    "MIN_SLICES",
    "PhantomSlice",
    "check_range",
    "generate_patient",
]

MIN_SLICES: Final = 4
MAX_SLICES: Final = 512
_MIN_SIDE: Final = 64
_MAX_SIDE: Final = 1024
MAX_SEED: Final = 9999
"""A patient's name holds four digits of the seed."""


class PhantomSlice(NamedTuple):
    """One slice of a phantom.

    Attributes
    ----------
    patient
        ``PHANTOM_<seed>``, four digits.
    number
        Position in the stack from 1, from the skull base upwards.
    image
        Pre-contrast, FLAIR and post-contrast, uint8 ``[side, side, 3]``.
    mask
        The lesion, 0 or 1, uint8 ``[side, side]``.
    """

    patient: str
    number: int
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def generate_patient(
    seed: int, *, slices: int = 20, side: int = 256, lesion: bool = True
) -> tuple[PhantomSlice, ...]:
    """Generate a patient: a stack of slices from the skull base to above the vertex.

    Parameters
    ----------
    seed
        Which patient, 0 to 9999. The same seed gives the same stack.
    slices
        Number of slices, 4 to 512.
    side
        Height and width in pixels, 64 to 1024.
    lesion
        Without it, the same head and the same noise with no lesion.

    Returns
    -------
    tuple of PhantomSlice
        In order; with `lesion`, at least one slice with a lesion and one without.

    Raises
    ------
    UsageError
        If an argument is out of its range.
    """
    check_range("seed", seed, 0, MAX_SEED)
    check_range("slices", slices, MIN_SLICES, MAX_SLICES)
    check_range("side", side, _MIN_SIDE, _MAX_SIDE)
    # One stream a purpose, so that a change to one leaves the others as they were.
    anatomy_rng, lesion_rng, scanner_rng, noise_rng = (
        np.random.Generator(np.random.PCG64(child))
        for child in np.random.SeedSequence(seed).spawn(4)
    )
    head = draw_head(anatomy_rng, side)
    heights = np.linspace(
        anatomy_rng.uniform(0.0, 0.12), anatomy_rng.uniform(0.98, 1.05), slices
    ).tolist()
    found = draw_lesion(lesion_rng, head, heights)
    scanner = draw_scanner(scanner_rng)
    stack = []
    for number, height in enumerate(heights, start=1):
        anatomy = render_anatomy(head, height)
        mask = np.zeros((side, side), np.uint8)
        if lesion:
            mask = paint_lesion(found, head, anatomy, height)
        image = acquire(anatomy.image, scanner, noise_rng, height)
        stack.append(PhantomSlice(f"PHANTOM_{seed:04d}", number, image, mask))
    return tuple(stack)


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Refuse an argument that is no whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}", accepted=f"a whole number from {low} to {high}")
