"""Which slices an epoch shows: balanced by class, with hard negatives and phantoms on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside_training.config import SamplingConfig

    Numbers = NDArray[np.int64]

__all__ = ["draw_epoch", "epoch_size"]

_HARDEST: Final = 10
"""A hard negative is among this part (a tenth) of the negatives."""


def epoch_size(positive: NDArray[np.bool_], config: SamplingConfig) -> int:
    """Return how many slices an epoch shows.

    Parameters
    ----------
    positive
        ``[N]``: which of the real slices are positive.
    config
        Its `slices_per_epoch`, or if that is 0, enough to show each positive slice once.
    """
    if config.slices_per_epoch:
        return config.slices_per_epoch
    return round(int(positive.sum()) / config.positive_share / (1 - config.phantom_share))


def draw_epoch(
    positive: NDArray[np.bool_],
    real: int,
    config: SamplingConfig,
    rng: np.random.Generator,
    hardness: NDArray[np.float32] | None = None,
) -> Numbers:
    """Draw the slices of an epoch.

    Parameters
    ----------
    positive
        ``[N]``: which slices are positive; the first `real` are patients', the rest synthetic.
    real
        Number of patients' slices.
    config
        Size and shares.
    rng
        The only source of randomness.
    hardness
        ``[real]``: false response of the model by slice, once it was mined.

    Returns
    -------
    ndarray of int64
        Numbers of slices in the order in which they are shown. No slice comes again before
        every other of its kind has been shown.

    Raises
    ------
    InputError
        If there is no positive or no negative slice to draw from.
    """
    total = epoch_size(positive[:real], config)
    synthetic = round(total * config.phantom_share)
    patients = total - synthetic
    positives = round(patients * config.positive_share)
    negatives = patients - positives
    kinds = np.arange(len(positive))
    is_real = kinds < real
    candidates = kinds[is_real & ~positive]
    hard = round(negatives * config.hard_share) if hardness is not None else 0
    hardest = _hardest(candidates, hardness) if hardness is not None else candidates
    chosen = [
        _cycle(kinds[is_real & positive], positives, rng, "positive"),
        _cycle(candidates, negatives - hard, rng, "negative"),
        _cycle(hardest, hard, rng, "hard negative"),
        _cycle(kinds[~is_real & positive], synthetic // 2, rng, "positive synthetic"),
        _cycle(kinds[~is_real & ~positive], synthetic - synthetic // 2, rng, "empty synthetic"),
    ]
    return rng.permutation(np.concatenate(chosen))


def _hardest(candidates: Numbers, hardness: NDArray[np.float32]) -> Numbers:
    count = max(1, len(candidates) // _HARDEST)
    return candidates[np.argsort(-hardness[candidates], kind="stable")[:count]]


def _cycle(candidates: Numbers, count: int, rng: np.random.Generator, kind: str) -> Numbers:
    """Take `count` of the candidates, each as often as the others, give or take one."""
    if count and not len(candidates):
        raise InputError(
            f"there is no {kind} slice to train on, and an epoch needs {count}",
            accepted="training slices of both classes",
            remedy="check the masks and the split, or change [sampling]",
        )
    rounds = [rng.permutation(candidates) for _ in range(-(-count // max(1, len(candidates))))]
    return np.concatenate([*rounds, candidates[:0]])[:count].astype(np.int64)
