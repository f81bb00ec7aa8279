"""What two models make of slices: enough of it is kept to compare two precisions later."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import ParityError
from scanside.evaluation.dataset import load_image, load_mask
from scanside.evaluation.gating import Outcomes
from scanside.evaluation.metrics import Overlap, overlap
from scanside.gate import is_probability
from scanside.postprocess import is_probability_map
from scanside.preprocess import Geometry, preprocess, restore
from scanside.streams import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.evaluation.dataset import DatasetSlice

__all__ = ["BATCH", "Mask", "Observed", "Outputs", "observe", "outputs_of"]

BATCH: Final = 8
"""Slices a call of a model: past that no CPU gets faster, and memory grows."""

_AHEAD: Final = 2


class Mask(NamedTuple):
    """A mask, one bit a pixel: 8 kB for 256 x 256.

    Attributes
    ----------
    bits
        uint8, ``[ceil(H * W / 8)]``, as `numpy.packbits` orders them.
    pixels
        How many are set.
    """

    bits: NDArray[np.uint8]
    pixels: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Mask:
        """Pack a mask, bool ``[H, W]``."""
        return cls(np.packbits(mask), int(np.count_nonzero(mask)))

    def overlap(self, other: Mask) -> Overlap:
        """Count the pixels of this mask and another on the same grid."""
        common = int(np.count_nonzero(np.unpackbits(self.bits & other.bits)))
        return Overlap(common, self.pixels, other.pixels)


class Observed(NamedTuple):
    """Two models' outputs on labelled slices, without a gate.

    Attributes
    ----------
    outcomes
        Probabilities, and pixels against the true masks.
    masks
        The segmenter's masks, on the slices' own grids.
    """

    outcomes: Outcomes
    masks: tuple[Mask, ...]


class Outputs(NamedTuple):
    """Two models' outputs on prepared slices.

    Attributes
    ----------
    probability
        float32 ``[N, 1]``.
    planes
        float32 ``[N, 256, 256]``.
    """

    probability: NDArray[np.float32]
    planes: NDArray[np.float32]


class _Ready(NamedTuple):
    item: DatasetSlice
    image: NDArray[np.uint8]
    geometry: Geometry
    true: NDArray[np.uint8]


def observe(
    slices: Sequence[DatasetSlice],
    backend: Backend,
    threshold: float,
    progress: Callable[[int], None] = lambda _: None,
) -> Observed:
    """Run both models on every labelled slice.

    Parameters
    ----------
    slices
        Of an indexed dataset, at least one.
    backend
        The loaded models.
    threshold
        A pixel with ``mask_probability >= threshold`` belongs to the mask.
    progress
        Called with the number of slices done.

    Raises
    ------
    InputError
        If a slice can no longer be read.
    ParityError
        If an output is NaN, infinite or no probability: such models are not compared.
    """
    numbers = {name: n for n, name in enumerate(sorted({item.patient for item in slices}))}
    rows: list[tuple[int, float, Overlap]] = []
    masks: list[Mask] = []
    with closing(prefetch(_batches(slices), _AHEAD)) as batches:
        for batch in batches:
            found = _run(backend, np.stack([ready.image for ready in batch]))
            for ready, probability, plane in zip(batch, *found, strict=True):
                name = f"{ready.item.patient} slice {ready.item.number}"
                _check(backend, float(probability[0]), plane, name)
                mask = restore(plane, ready.geometry) >= threshold
                masks.append(Mask.of(mask))
                rows.append(
                    (numbers[ready.item.patient], float(probability[0]), overlap(mask, ready.true))
                )
            progress(len(rows))
    pixels = np.array([row[2] for row in rows], np.int64)
    return Observed(
        Outcomes(
            patient=np.array([row[0] for row in rows], np.int64),
            probability=np.array([row[1] for row in rows], np.float64),
            intersection=pixels[:, 0],
            predicted=pixels[:, 1],
            true=pixels[:, 2],
        ),
        tuple(masks),
    )


def outputs_of(images: NDArray[np.uint8], backend: Backend, *, batch: int = BATCH) -> Outputs:
    """Run both models on prepared slices.

    Parameters
    ----------
    images
        uint8 ``[N, 256, 256, 3]``.
    backend
        The loaded models.
    batch
        Slices a call.

    Raises
    ------
    ParityError
        If an output is NaN, infinite or no probability.
    """
    parts = [_run(backend, images[at : at + batch]) for at in range(0, len(images), batch)]
    outputs = Outputs(
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.planes for part in parts]),
    )
    for number, (probability, plane) in enumerate(zip(*outputs, strict=True)):
        _check(backend, float(probability[0]), plane, f"slice {number}")
    return outputs


def _run(backend: Backend, images: NDArray[np.uint8]) -> Outputs:
    return Outputs(backend.classify(images), backend.segment(images))


def _batches(slices: Sequence[DatasetSlice]) -> Iterator[list[_Ready]]:
    for start in range(0, len(slices), BATCH):
        yield [_ready(item) for item in slices[start : start + BATCH]]


def _ready(item: DatasetSlice) -> _Ready:
    return _Ready(item, *preprocess(load_image(item)), load_mask(item))


def _check(backend: Backend, probability: float, plane: NDArray[np.float32], name: str) -> None:
    wrong = None
    if not is_probability(probability):
        wrong = f"the classifier's output is {probability}"
    elif not is_probability_map(plane):
        wrong = "the segmenter's output is not finite, or not from 0 to 1"
    if wrong is not None:
        raise ParityError(
            f"{name}: {wrong} in {backend.precision} on {backend.name}",
            accepted="probabilities",
            remedy="these models cannot be used in this precision: keep fp32 and report it",
        )
