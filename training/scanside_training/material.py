"""The slices that a run sees: the split's parts, at the size of a phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside_training.phantom import generate_patient
from scanside_training.pool import SlicePool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.evaluation.dataset import Dataset, DatasetSlice
    from scanside.evaluation.splits import Split
    from scanside_training.config import Config

    Synthetic = tuple[NDArray[np.uint8], NDArray[np.uint8]]

__all__ = ["Material", "gather"]

_PHANTOM_SEED: Final = 5000
"""First seed of the phantoms trained on; those that are shown and measured are below it."""

_PHANTOM_SLICES: Final = 20
"""Slices of a phantom patient."""


class Material(NamedTuple):
    """What a run trains and validates on.

    Attributes
    ----------
    train, validation
        The slices of the two parts.
    synthetic
        Phantoms to train on, images and masks, or none.
    """

    train: tuple[DatasetSlice, ...]
    validation: tuple[DatasetSlice, ...]
    synthetic: Synthetic | None

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which training slices of patients are positive, ``[N]``."""
        return np.array([item.positive for item in self.train], bool)

    @property
    def validation_patients(self) -> tuple[str, ...]:
        """Patient of each validation slice."""
        return tuple(item.patient for item in self.validation)

    def pools(self, config: Config, side: int) -> tuple[SlicePool, SlicePool]:
        """Decode both parts at one size; they share the memory budget by their sizes."""
        total = len(self.train) + len(self.validation)
        machine = config.machine
        train = SlicePool(
            self.train,
            side=side,
            ram_mb=machine.ram_mb * len(self.train) // total,
            workers=machine.workers,
            synthetic=self.synthetic,
        )
        validation = SlicePool(
            self.validation,
            side=side,
            ram_mb=machine.ram_mb * len(self.validation) // total,
            workers=machine.workers,
        )
        return train, validation


def gather(config: Config, dataset: Dataset, split: Split) -> Material:
    """Take the parts of the split, and make the phantoms that the configuration asks for."""
    synthetic = None
    if config.sampling.phantom_share:
        synthetic = _phantoms(-(-config.sampling.phantoms // _PHANTOM_SLICES))
    return Material(dataset.of(split.train), dataset.of(split.validation), synthetic)


def _phantoms(patients: int) -> Synthetic:
    seeds = range(_PHANTOM_SEED, _PHANTOM_SEED + patients)
    stacks = [generate_patient(seed, slices=_PHANTOM_SLICES) for seed in seeds]
    pieces = [piece for stack in stacks for piece in stack]
    return np.stack([piece.image for piece in pieces]), np.stack([piece.mask for piece in pieces])
