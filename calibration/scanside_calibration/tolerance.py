"""The golden tolerances of a derived precision: from what was measured, with a stated margin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside import backends
from scanside.contract import Tolerance
from scanside.errors import BackendError, ParityError
from scanside.gate import Route, decide, route
from scanside.golden import DECISIONS
from scanside.verification import dice
from scanside_calibration.candidate import running
from scanside_calibration.observe import outputs_of
from scanside_calibration.stated import STATED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scanside.bundle import Bundle
    from scanside.contract import Precision, Thresholds
    from scanside.golden import GoldenSlices
    from scanside_calibration.observe import Outputs

__all__ = ["FLOORS", "LOOSEST", "MARGIN", "Apart", "check_decisions", "on_backends", "tolerance"]

MARGIN: Final = 2.0
"""What was measured here, times this, is allowed anywhere: other kernels round and saturate
otherwise, and differ among themselves by less than INT8 differs from FP32."""

FLOORS: Final[Mapping[Precision, Tolerance]] = {
    "fp16": Tolerance(
        tumor_probability=1e-2, mask_probability=2e-2, mask_pixels=0.998, mask_dice=0.99
    ),
    "int8": Tolerance(
        tumor_probability=3e-2, mask_probability=5e-2, mask_pixels=0.995, mask_dice=0.97
    ),
}
"""The tightest tolerances that are given out, whatever six slices happened to show: a few
golden slices may lie kindly. FP16 keeps 11 bits, INT8 eight."""

LOOSEST: Final = Tolerance(
    tumor_probability=0.2, mask_probability=5e-2, mask_pixels=0.97, mask_dice=0.85
)
"""Beyond these, golden slices would not show a mistake any more: exchanged channels leave 97 % of
the pixels where they were, and a mask that is moved by one pixel has a Dice of 0.77."""

_STEP: Final = 1e-3
"""Tolerances are rounded outwards to it."""


class Apart(NamedTuple):
    """How far outputs lie from the golden ones, at the worst slice.

    Attributes
    ----------
    probability
        Largest difference of a probability.
    outside
        Largest share of a slice's pixels beyond the tolerance's `mask_probability`.
    dice
        Smallest Dice of a mask.
    """

    probability: float
    outside: float
    dice: float


def on_backends(bundle: Bundle, golden: GoldenSlices, precision: Precision) -> dict[str, Outputs]:
    """Run the golden slices on every CPU backend of this machine, and on the file as it is.

    Parameters
    ----------
    bundle
        Holds the models; usually a `Candidate`.
    golden
        The golden slices.
    precision
        Which models.

    Returns
    -------
    dict
        Outputs by the name of what computed them, ``cpu`` and `STATED` always among them.

    Raises
    ------
    BackendError
        If the CPU backend can't be used.
    ParityError
        If an output is no probability.
    """
    found: dict[str, Outputs] = {}
    for name in backends.ON_CPU:
        try:
            with running(bundle, precision, name) as backend:
                found[name] = outputs_of(golden.images, backend, batch=1)
        except BackendError:  # noqa: PERF203 - a handful of names, once
            # Another backend may well be missing here; the one that the guard uses may not.
            if name == "cpu":
                raise
    with running(bundle, precision, STATED) as stated:
        found[STATED] = outputs_of(golden.images, stated, batch=1)
    return found


def apart(golden: GoldenSlices, found: Outputs, mask_probability: float) -> Apart:
    """Measure how far outputs lie from the golden ones.

    Parameters
    ----------
    golden
        The golden slices.
    found
        The outputs.
    mask_probability
        What counts as near for a pixel.
    """
    difference = np.abs(found.planes - golden.mask_probability)
    outside = (difference > mask_probability).mean(axis=(1, 2))
    pairs = zip(golden.mask_probability, found.planes, strict=True)
    return Apart(
        float(np.abs(found.probability - golden.tumor_probability).max()),
        float(outside.max()),
        min(dice(one >= golden.mask, two >= golden.mask) for one, two in pairs),
    )


def tolerance(
    golden: GoldenSlices, outputs: Mapping[str, Outputs], precision: Precision
) -> Tolerance:
    """Derive the golden tolerance of a precision.

    Parameters
    ----------
    golden
        The golden slices, with FP32's outputs.
    outputs
        The precision's outputs, by what computed them.
    precision
        ``fp16`` or ``int8``.

    Returns
    -------
    Tolerance
        `MARGIN` times the largest distance of any of the outputs, at least `FLOORS`.

    Raises
    ------
    ParityError
        If that is looser than `LOOSEST`.
    """
    floor = FLOORS[precision]
    worst = [apart(golden, each, floor.mask_probability) for each in outputs.values()]
    probability = _up(MARGIN * max(each.probability for each in worst))
    outside = _up(MARGIN * max(each.outside for each in worst))
    missed = _up(MARGIN * (1 - min(each.dice for each in worst)))
    made = Tolerance(
        tumor_probability=max(floor.tumor_probability, min(1.0, probability)),
        mask_probability=floor.mask_probability,
        mask_pixels=round(min(floor.mask_pixels, max(_STEP, 1 - outside)), 6),
        mask_dice=round(min(floor.mask_dice, max(_STEP, 1 - missed)), 6),
    )
    if (
        made.tumor_probability > LOOSEST.tumor_probability
        or made.mask_pixels < LOOSEST.mask_pixels
        or made.mask_dice < LOOSEST.mask_dice
    ):
        raise ParityError(
            f"on the golden slices the {precision} models are too far from FP32 (tolerances of"
            f" {made.tumor_probability:g} for the probability, {made.mask_pixels:.3f} of the"
            f" pixels and a Dice of {made.mask_dice:g} would be needed)",
            accepted=f"{LOOSEST.tumor_probability:g}, {LOOSEST.mask_pixels:g} and"
            f" {LOOSEST.mask_dice:g}: looser ones would let mistakes pass",
            remedy="try another --method or more --slices, or export the bundle with other golden"
            " slices (scanside export --golden)",
        )
    return made


def check_decisions(
    golden: GoldenSlices, outputs: Mapping[str, Outputs], thresholds: Thresholds
) -> None:
    """Refuse models that decide otherwise than FP32 on a golden slice.

    Such a slice is not taken out or exchanged here: it would be left to chance how many
    decisions turn that nobody looked at.

    Parameters
    ----------
    golden
        The golden slices, with FP32's decisions.
    outputs
        The precision's outputs, by what computed them.
    thresholds
        The bundle's.

    Raises
    ------
    ParityError
        If a decision differs; each is named with its probabilities.
    """
    turned: list[str] = []
    for name, found in outputs.items():
        turned += _turned(name, golden, found, thresholds)
    if turned:
        raise ParityError(
            f"{len(turned)} golden decisions differ from FP32's: {'; '.join(turned)}",
            accepted=f"the decisions of FP32 (gate {thresholds.gate:g}, decision"
            f" {thresholds.decision:g}) on every golden slice",
            remedy="try another --method or more --slices; where the slice lies close to a"
            " threshold, export the bundle with more phantoms to choose from"
            " (scanside data phantom, scanside export --golden)",
        )


def _turned(
    name: str, golden: GoldenSlices, found: Outputs, thresholds: Thresholds
) -> Sequence[str]:
    turned = []
    for at, (probability, plane) in enumerate(
        zip(found.probability[:, 0].tolist(), found.planes, strict=True)
    ):
        way = route(probability, thresholds)
        area = int((plane >= thresholds.mask).sum()) if way is Route.SEGMENT else None
        decision = decide(probability, thresholds, area).tumor
        if (way.value, decision) != (golden.route[at], DECISIONS[golden.tumor[at]]):
            turned.append(
                f"slice {at} on {name}: {golden.tumor_probability[at, 0]:.3f} became"
                f" {probability:.3f}, {golden.route[at]} and {golden.tumor[at]} became"
                f" {way.value} and {str(decision).lower()}"
            )
    return turned


def _up(value: float) -> float:
    """Round up to `_STEP`."""
    return round(math.ceil(round(value / _STEP, 6)) * _STEP, 6)
