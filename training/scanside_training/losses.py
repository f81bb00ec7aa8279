r"""Losses on tumour masks: Dice with cross-entropy, Tversky, and focal Tversky.

Each takes the mask ``[N, H, W]`` or ``[N, H, W, 1]`` with values from 0 to 1 and the logits in
the same layout, and gives a scalar. Everything is computed in float32, whatever the precision
of the logits.

With the soft counts over a set of pixels, p the probability and m the mask,

.. math:: TP = \sum p m, \quad FN = \sum (1 - p) m, \quad FP = \sum p (1 - m)

.. math:: TI = \frac{TP + s}{TP + \alpha FN + (1 - \alpha) FP + s}

is the Tversky index with the smoothing s = 1 pixel: an empty mask that is predicted empty has
the index 1, and no division by zero is possible. Alpha = 0.5 is the Dice coefficient.

The set of pixels is the whole batch by default, which weighs lesions by their size and lets a
batch of mostly empty slices still have a gradient; ``per_image`` takes the index of every image
and averages the losses, which weighs a small lesion like a large one, and any false pixel of an
empty slice heavily.

References
----------
Salehi et al. 2017, "Tversky loss function for image segmentation", MLMI.
Abraham & Khan 2019, "A novel focal Tversky loss function", ISBI: alpha = 0.7 on the missed
pixels, and (1 - TI)^(1/gamma) with gamma = 4/3, that is the exponent 0.75.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from keras import KerasTensor, ops

if TYPE_CHECKING:
    from scanside_training.config import LossConfig

__all__ = [
    "MaskLoss",
    "cross_entropy",
    "dice_cross_entropy",
    "focal_tversky",
    "mask_loss",
    "tversky",
    "tversky_index",
]

_SMOOTH: Final = 1.0
"""In pixels."""

_SMALLEST: Final = 1e-6
"""Below it the focal loss is linear in effect: its derivative at 0 is infinite."""

MaskLoss = Callable[[KerasTensor, KerasTensor], KerasTensor]


def cross_entropy(target: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Return the mean binary cross-entropy of logits, in the form that cannot overflow."""
    target, logits = _float(target), _float(logits)
    losses = ops.maximum(logits, 0.0) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.mean(losses)


def tversky_index(
    mask: KerasTensor, logits: KerasTensor, *, alpha: float, per_image: bool
) -> KerasTensor:
    """Return the Tversky index of the batch, a scalar, or of every image, ``[N]``."""
    mask = _float(mask)
    axes = tuple(range(1 if per_image else 0, len(mask.shape)))
    probability = ops.sigmoid(_float(logits))
    hit = ops.sum(probability * mask, axes)
    missed = ops.sum((1.0 - probability) * mask, axes)
    false = ops.sum(probability * (1.0 - mask), axes)
    return (hit + _SMOOTH) / (hit + alpha * missed + (1.0 - alpha) * false + _SMOOTH)


def tversky(
    mask: KerasTensor, logits: KerasTensor, *, alpha: float = 0.7, per_image: bool = False
) -> KerasTensor:
    """Return ``1 - TI``, averaged over images if `per_image`."""
    return ops.mean(1.0 - tversky_index(mask, logits, alpha=alpha, per_image=per_image))


def focal_tversky(
    mask: KerasTensor,
    logits: KerasTensor,
    *,
    alpha: float = 0.7,
    gamma: float = 4 / 3,
    per_image: bool = False,
) -> KerasTensor:
    """Return ``(1 - TI) ** (1 / gamma)``, averaged over images if `per_image`."""
    error = 1.0 - tversky_index(mask, logits, alpha=alpha, per_image=per_image)
    return ops.mean(ops.power(ops.maximum(error, _SMALLEST), 1.0 / gamma))


def dice_cross_entropy(
    mask: KerasTensor, logits: KerasTensor, *, per_image: bool = False
) -> KerasTensor:
    """Return ``1 - Dice`` plus the mean cross-entropy of the pixels."""
    overlap = tversky(mask, logits, alpha=0.5, per_image=per_image)
    return overlap + cross_entropy(mask, logits)


def mask_loss(config: LossConfig) -> MaskLoss:
    """Return the configured loss as a function of the mask and the logits."""
    if config.name == "tversky":
        return lambda mask, logits: tversky(
            mask, logits, alpha=config.alpha, per_image=config.per_image
        )
    if config.name == "focal-tversky":
        return lambda mask, logits: focal_tversky(
            mask, logits, alpha=config.alpha, gamma=config.gamma, per_image=config.per_image
        )
    return lambda mask, logits: dice_cross_entropy(mask, logits, per_image=config.per_image)


def _float(values: KerasTensor) -> KerasTensor:
    return ops.cast(values, "float32")
