"""The thresholds of a bundle, chosen on validation patients for a wanted sensitivity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from scanside.contract import Thresholds
from scanside.errors import InputError
from scanside.evaluation.gating import (
    MIN_LESION_PX,
    Outcomes,
    choose_decision,
    choose_gate,
    gate_point,
)

if TYPE_CHECKING:
    from scanside_training.document import Subject

__all__ = ["choose_thresholds"]

_DIGITS: Final = 3
"""The gate is rounded down to this many digits: a figure that people read and type."""

_MARGIN: Final = 0.25
"""The gate lies this far, as a logit, below the last lesion that has to pass. Exactly on it the
rounding of another processor or precision would decide whether that lesion is segmented: INT8
moves this classifier's logits by 0.1 to 0.2."""


def choose_thresholds(
    outcomes: Outcomes, subject: Subject, *, sensitivity: float, indeterminate: float, mask: float
) -> Thresholds:
    """Choose gate and decision.

    Parameters
    ----------
    outcomes
        What both models make of the validation slices.
    subject
        What those slices are, for the record.
    sensitivity
        Wanted share of the slices with a lesion of `MIN_LESION_PX` pixels that pass the gate.
    indeterminate
        Largest wanted share of indeterminate slices.
    mask
        The threshold that the masks were cut at.

    Raises
    ------
    InputError
        If no gate above 0 attains the sensitivity, or as for `choose_gate`, `choose_decision`.
    UsageError
        If `sensitivity` or `indeterminate` is no share.
    """
    exact = choose_gate(outcomes.probability, outcomes.true, sensitivity=sensitivity)
    gate = math.floor(_lowered(exact) * 10**_DIGITS) / 10**_DIGITS
    if gate <= 0:
        raise InputError(
            f"a sensitivity of {sensitivity:g} needs a gate of {exact:.2g}: every slice would pass",
            accepted=f"a sensitivity that a gate of at least {10**-_DIGITS:g} attains",
            remedy="ask for less with --sensitivity, or train the classifier longer",
        )
    decision = max(gate, choose_decision(outcomes, gate, most=indeterminate))
    point = gate_point(outcomes, gate, decision)
    chosen = (
        f"on {subject.slices} slices of {subject.patients} patients ({subject.part}): gate for a"
        f" sensitivity of at least {sensitivity:g} on lesions of {MIN_LESION_PX} px and more, with"
        f" a margin of {_MARGIN:g} as a logit (found {point.lesion_sensitivity:.3f};"
        f" {point.skipped:.0%} of the slices skipped),"
        f" decision for at most {indeterminate:g} indeterminate slices"
        f" (found {point.indeterminate:.3f})"
    )
    return Thresholds(gate=gate, decision=decision, mask=mask, chosen=chosen)


def _lowered(probability: float) -> float:
    """Return a probability that is the margin lower as a logit."""
    odds = probability / max(1.0 - probability, 1e-9) * math.exp(-_MARGIN)
    return odds / (1.0 + odds)
