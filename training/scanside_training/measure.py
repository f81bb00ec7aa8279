"""From slices and two models to the counts that every figure is made of.

Both models run on every slice: the gate is applied afterwards, on the counts, so that its cost
can be told at every threshold. Nothing but counts is kept of a slice.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import BackendError
from scanside.evaluation.dataset import load_image, load_mask
from scanside.evaluation.metrics import Overlap, hausdorff95, overlap
from scanside.gate import is_probability
from scanside.postprocess import is_probability_map
from scanside.preprocess import Geometry, preprocess, restore
from scanside.streams import prefetch
from scanside_training.variants import ORIGINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.evaluation.dataset import DatasetSlice
    from scanside_training.variants import Variant

__all__ = ["Measured", "Prediction", "measure", "predict"]

_BATCH: Final = 8
"""Slices a call of a model: past that no CPU gets faster, and memory grows."""

_AHEAD: Final = 2


class Prediction(NamedTuple):
    """What the models say about a slice.

    Attributes
    ----------
    item
        The slice.
    image
        uint8 ``[H, W, 3]``, as it was read.
    probability
        The classifier's `tumor_probability`.
    plane
        float32 ``[H, W]``: the segmenter's `mask_probability` on the slice's own grid.
    """

    item: DatasetSlice
    image: NDArray[np.uint8]
    probability: float
    plane: NDArray[np.float32]


class Measured(NamedTuple):
    """A slice, its prediction compared with the truth.

    Attributes
    ----------
    item
        The slice.
    probability
        The classifier's `tumor_probability`.
    overlap
        Pixels of the predicted and of the true mask.
    hd95
        95th percentile Hausdorff distance in pixels; ``inf`` if one mask alone is empty,
        ``nan`` if both are.
    """

    item: DatasetSlice
    probability: float
    overlap: Overlap
    hd95: float


class _Ready(NamedTuple):
    """A slice that is ready for the models."""

    item: DatasetSlice
    pixels: NDArray[np.uint8]
    image: NDArray[np.uint8]
    geometry: Geometry


def predict(
    slices: Sequence[DatasetSlice], backend: Backend, variant: Variant = ORIGINAL
) -> Iterator[Prediction]:
    """Run both models on slices, in their order.

    Parameters
    ----------
    slices
        Of an indexed dataset.
    backend
        The loaded models.
    variant
        How each slice is changed first; the plane is brought back.

    Raises
    ------
    InputError
        If a slice can no longer be read.
    BackendError
        If an output is not of the contract: a wrong shape, or values that are no probability.
    """
    with closing(prefetch(_batches(slices, variant), _AHEAD)) as batches:
        for batch in batches:
            images = np.stack([ready.image for ready in batch])
            probabilities = backend.classify(images)
            planes = backend.segment(images)
            _check_shapes(probabilities, planes, images.shape)
            for ready, probability, plane in zip(batch, probabilities, planes, strict=True):
                _check_values(ready.item, float(probability[0]), plane)
                yield Prediction(
                    ready.item,
                    ready.pixels,
                    float(probability[0]),
                    variant.back(restore(plane, ready.geometry), ready.pixels.shape[:2]),
                )


def measure(
    slices: Sequence[DatasetSlice],
    backend: Backend,
    mask_threshold: float,
    progress: Callable[[int], None] = lambda _: None,
    variant: Variant = ORIGINAL,
) -> list[Measured]:
    """Compare the models' outputs with the truth.

    Parameters
    ----------
    slices
        Of an indexed dataset.
    backend
        The loaded models.
    mask_threshold
        A pixel with ``mask_probability >= mask_threshold`` belongs to the predicted mask.
    progress
        Called with the number of slices done.
    variant
        How each slice is changed first.

    Returns
    -------
    list of Measured
        One a slice, in their order. Raises what `predict` raises.
    """
    measured = []
    for prediction in predict(slices, backend, variant):
        predicted = prediction.plane >= mask_threshold
        true = load_mask(prediction.item)
        measured.append(
            Measured(
                prediction.item,
                prediction.probability,
                overlap(predicted, true),
                hausdorff95(predicted, true),
            )
        )
        progress(len(measured))
    return measured


def _batches(slices: Sequence[DatasetSlice], variant: Variant) -> Iterator[list[_Ready]]:
    for start in range(0, len(slices), _BATCH):
        batch = []
        for item in slices[start : start + _BATCH]:
            pixels = load_image(item)
            batch.append(_Ready(item, pixels, *preprocess(variant.change(pixels))))
        yield batch


def _check_shapes(
    probabilities: NDArray[np.float32], planes: NDArray[np.float32], shape: tuple[int, ...]
) -> None:
    wanted = {"tumor_probability": (shape[0], 1), "mask_probability": shape[:3]}
    for (name, expected), output in zip(wanted.items(), (probabilities, planes), strict=True):
        if output.shape != expected:
            raise BackendError(
                f"{name} has the shape {list(output.shape)}",
                accepted=f"{list(expected)}",
                remedy="the models are not of the contract: export or train them again",
            )


def _check_values(item: DatasetSlice, probability: float, plane: NDArray[np.float32]) -> None:
    name = f"{item.patient} slice {item.number}"
    remedy = "no figure can be made of that: find out why with scanside verify"
    if not is_probability(probability):
        raise BackendError(f"{name}: tumor_probability is {probability}", remedy=remedy)
    if not is_probability_map(plane):
        raise BackendError(f"{name}: mask_probability is not from 0 to 1", remedy=remedy)
