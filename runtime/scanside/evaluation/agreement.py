"""How far two sets of outputs for the same slices lie apart: running tallies, numpy only.

Each tally takes slices one by one or in batches and keeps one number a slice, never a mask.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scanside.errors import InputError, UsageError
from scanside.evaluation.gating import MIN_LESION_PX
from scanside.evaluation.metrics import dice, overlap

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scanside.evaluation.metrics import Overlap

__all__ = ["DiceSpread", "DifferenceSpread", "MaskAgreement", "ProbabilityAgreement"]

_PLANE, _STACK = 2, 3
"""Axes of one mask and of a batch of masks."""


class DifferenceSpread(NamedTuple):
    """Absolute differences of a probability, over slices; ``nan`` of no slice.

    Attributes
    ----------
    slices
        How many were compared.
    mean, p99, largest
        Mean, 99th percentile (linear interpolation) and maximum.
    """

    slices: int
    mean: float
    p99: float
    largest: float


class DiceSpread(NamedTuple):
    """Dice of one side's masks against the other's, over slices; ``nan`` of no slice.

    Attributes
    ----------
    slices
        How many count: those with enough pixels.
    mean, p5, worst
        Mean, 5th percentile (linear interpolation) and minimum.
    """

    slices: int
    mean: float
    p5: float
    worst: float


class ProbabilityAgreement:
    """A tally of `tumor_probability` on two sides.

    Parameters
    ----------
    gate, other_gate
        The gates of the two sides; one for both where `other_gate` is left out.

    Attributes
    ----------
    gate_flips
        Slices so far that one side's gate lets through and the other's does not.

    Examples
    --------
    >>> tally = ProbabilityAgreement(gate=0.3)
    >>> tally.add([0.1, 0.4], [0.1, 0.2])
    >>> tally.gate_flips, round(tally.spread().largest, 6)
    (1, 0.2)
    """

    def __init__(self, gate: float, other_gate: float | None = None) -> None:
        self._gates = (gate, gate if other_gate is None else other_gate)
        self._differences = array("d")
        self.gate_flips = 0

    def add(self, one: ArrayLike, other: ArrayLike) -> None:
        """Add slices.

        Parameters
        ----------
        one, other
            The probabilities of the same slices on the two sides, ``[N]``, ``[N, 1]`` or scalars.

        Raises
        ------
        InputError
            If there are not equally many, or one is no number from 0 to 1: such an output has
            no distance from another and has to be counted apart.
        """
        first, second = (np.asarray(values, np.float64).ravel() for values in (one, other))
        if first.shape != second.shape:
            raise InputError(
                f"{first.size} probabilities against {second.size}", accepted="one each a slice"
            )
        for values in (first, second):
            if bad := int(np.sum(~((values >= 0) & (values <= 1)))):  # NaN fails both
                raise InputError(
                    f"{bad} of {values.size} probabilities are NaN, infinite or not from 0 to 1",
                    accepted="numbers from 0 to 1",
                    remedy="count such slices apart: they have no distance from others",
                )
        self._differences.extend(np.abs(first - second).tolist())
        self.gate_flips += int(np.sum((first >= self._gates[0]) != (second >= self._gates[1])))

    def spread(self) -> DifferenceSpread:
        """Return mean, 99th percentile and maximum of the absolute differences so far."""
        values = np.array(self._differences)
        if not values.size:
            return DifferenceSpread(0, np.nan, np.nan, np.nan)
        p99 = float(np.percentile(values, 99))
        return DifferenceSpread(values.size, float(values.mean()), p99, float(values.max()))


class MaskAgreement:
    """A tally of masks on two sides.

    Parameters
    ----------
    min_px
        Slices with fewer pixels are left out: a pixel more or less would decide.

    Examples
    --------
    >>> tally = MaskAgreement(min_px=2)
    >>> tally.add(np.ones((2, 2), bool), np.eye(2, dtype=bool)).tolist()
    [0.6666666666666666]
    """

    def __init__(self, min_px: int = MIN_LESION_PX) -> None:
        if min_px < 1:
            raise UsageError(f"min_px is {min_px}", accepted="1 or more: empty masks always agree")
        self._min_px = min_px
        self._dice = array("d")

    def add(
        self, one: ArrayLike, other: ArrayLike, *, true_px: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Add slices.

        Parameters
        ----------
        one, other
            The masks of the same slices on the two sides, bool or 0/1, ``[N, H, W]`` or
            ``[H, W]``.
        true_px
            Pixels of tumour of each slice, ``[N]`` or a scalar: what decides whether it has
            enough. Where left out the larger of the two masks does.

        Returns
        -------
        ndarray of float64
            Dice of each slice, ``[N]``, counted or not; 1 where both masks are empty.

        Raises
        ------
        InputError
            If the shapes differ.
        """
        _check_shapes(one, other)
        pairs = zip(_stack(one), _stack(other), strict=True)
        counted = [overlap(first, second) for first, second in pairs]
        sizes: list[int | None] = [None] * len(counted)
        if true_px is not None:
            sizes = np.atleast_1d(np.asarray(true_px, np.int64)).tolist()
            if len(sizes) != len(counted):
                raise InputError(
                    f"{len(sizes)} areas for {len(counted)} masks", accepted="one each"
                )
        values = [
            self.add_overlap(each, true_px=size) for each, size in zip(counted, sizes, strict=True)
        ]
        return np.array(values, np.float64)

    def add_overlap(self, pixels: Overlap, *, true_px: int | None = None) -> float:
        """Add a slice whose pixels were counted before; see `add`.

        Parameters
        ----------
        pixels
            Pixels in both masks, in the one side's, in the other side's.
        true_px
            As in `add`.

        Returns
        -------
        float
            Dice of the slice.
        """
        value = float(dice(*pixels))
        size = max(pixels.predicted, pixels.true) if true_px is None else true_px
        if size >= self._min_px:
            self._dice.append(value)
        return value

    def spread(self) -> DiceSpread:
        """Return mean, 5th percentile and minimum of Dice over the slices that count so far."""
        values = np.array(self._dice)
        if not values.size:
            return DiceSpread(0, np.nan, np.nan, np.nan)
        p5 = float(np.percentile(values, 5))
        return DiceSpread(values.size, float(values.mean()), p5, float(values.min()))


def _stack(masks: ArrayLike) -> NDArray[np.generic]:
    planes = np.asarray(masks)
    return planes[np.newaxis] if planes.ndim == _PLANE else planes


def _check_shapes(one: ArrayLike, other: ArrayLike) -> None:
    shapes = [np.shape(masks) for masks in (one, other)]
    if shapes[0] != shapes[1] or len(shapes[0]) not in {_PLANE, _STACK}:
        raise InputError(
            f"masks of the shapes {list(shapes[0])} and {list(shapes[1])}",
            accepted="the same [N, H, W] or [H, W] on both sides",
        )
