"""What differs between the two tasks: the models, the loss, and the validation metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from keras import KerasTensor, ops

from scanside_training.config import ClassifierConfig
from scanside_training.losses import cross_entropy, mask_loss
from scanside_training.models.resnet50 import AUXILIARY_STRIDE, ClassifierModels, build_classifier
from scanside_training.models.resunet import SegmenterModels, build_segmenter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside_training.config import Config

__all__ = [
    "SELECTION",
    "build_models",
    "classifier_metrics",
    "false_response",
    "segmenter_metrics",
    "slice_auc",
    "training_loss",
]

SELECTION: Final = {"classifier": "auc", "segmenter": "dice"}
"""The validation metric that picks the best epoch; larger is better."""

_MASK_THRESHOLD: Final = 0.5
_SMALLEST: Final = 1e-7

TrainingLoss = Callable[[dict[str, Any], Any], KerasTensor]


def build_models(config: Config, side: int | None) -> ClassifierModels | SegmenterModels:
    """Build the task's training and inference model, sharing weights; see their modules."""
    if isinstance(config, ClassifierConfig):
        return build_classifier(
            side,
            width=config.model.width,
            bias=config.model.bias,
            input_pool=config.model.input_pool,
        )
    return build_segmenter(
        side,
        filters=config.model.filters,
        width=config.model.width,
        stem_stride=config.model.stem_stride,
        attention=config.model.attention,
    )


def training_loss(config: Config) -> TrainingLoss:
    """Return the loss of targets (`DataGenerator`) and the training model's outputs."""
    of_mask = mask_loss(config.loss)
    if not isinstance(config, ClassifierConfig):
        return lambda targets, logits: of_mask(targets["mask"], logits)
    weight = config.loss.auxiliary_weight
    stride = AUXILIARY_STRIDE * config.model.input_pool

    def loss(targets: dict[str, Any], outputs: tuple[KerasTensor, KerasTensor]) -> KerasTensor:
        logit, mask_logits = outputs
        share = ops.average_pool(ops.cast(targets["mask"], "float32"), stride, stride)
        return cross_entropy(targets["label"], logit) + weight * of_mask(share, mask_logits)

    return loss


def classifier_metrics(
    probability: NDArray[np.float32], positive: NDArray[np.bool_]
) -> dict[str, float]:
    """Return the slice AUC and the mean cross-entropy of probabilities ``[N]``."""
    clipped = np.clip(probability.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    loss = -np.mean(np.where(positive, np.log(clipped), np.log1p(-clipped)))
    return {"auc": slice_auc(probability, positive), "loss": float(loss)}


def slice_auc(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: the chance that a positive slice scores higher.

    Ties count half (Mann-Whitney U). There must be slices of both classes.
    """
    values, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    hits = int(positive.sum())
    wins = float(ranks[positive].sum()) - hits * (hits + 1) / 2
    return wins / (hits * (len(values[inverse.reshape(-1)]) - hits))


def segmenter_metrics(
    probability: NDArray[np.float32], masks: NDArray[np.uint8], patients: Sequence[str]
) -> dict[str, float]:
    """Return what the segmenter does on the slices that a perfect gate would and would not send.

    Parameters
    ----------
    probability
        ``[N, S, S]``.
    masks
        ``[N, S, S]`` of 0 and 1.
    patients
        Patient of each slice.

    Returns
    -------
    dict
        ``dice``: volume Dice over the positive slices of a patient, averaged over patients.
        ``false_px``: mean number of false pixels on a negative slice.
    """
    found = probability >= _MASK_THRESHOLD
    truth = masks.astype(bool)
    positive = truth.any(axis=(1, 2))
    counts: defaultdict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(2, np.int64))
    for patient, one, other in zip(
        np.array(patients)[positive], found[positive], truth[positive], strict=True
    ):
        counts[patient] += (2 * int((one & other).sum()), int(one.sum()) + int(other.sum()))
    return {
        "dice": float(np.mean([hit / total for hit, total in counts.values()])),
        "false_px": float(found[~positive].sum(axis=(1, 2)).mean()),
    }


def false_response(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how strongly a model responds to each slice: what makes a negative hard.

    Parameters
    ----------
    probability
        ``[N]`` of the classifier, ``[N, S, S]`` of the segmenter.

    Returns
    -------
    ndarray of float32
        ``[N]``: the probability, or the sum of a slice's probabilities (an area in pixels).
    """
    response: NDArray[np.float32] = probability.reshape(len(probability), -1).sum(axis=1)
    return response
