"""The segmenter: a U-Net of residual blocks that every inference engine runs well.

Plain convolutions, bilinear Resize and max pooling only: no transposed convolution, no
shape arithmetic. The first stage is one convolution on the way down and one on the way up,
because a layer there costs as much time as a whole block below it; with ``stem_stride = 2`` it
runs at half the resolution and the logits are enlarged.

References
----------
Ronneberger et al. 2015, "U-Net", MICCAI. Zhang et al. 2018, "Road extraction by deep residual
U-Net", IEEE GRSL. Oktay et al. 2018, "Attention U-Net", MIDL (the optional gates).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import keras
from keras import layers

from scanside.preprocess import SIDE
from scanside_training.models.layers import conv_bn, image_input, scaled, upsample

__all__ = ["FILTERS", "OUTPUT_NAME", "SegmenterModels", "build_segmenter"]

OUTPUT_NAME: Final = "mask_probability"

FILTERS: Final = (16, 32, 64, 128, 256)
"""Filters by stage, each at half the resolution of the one before: about 2 million parameters."""


class SegmenterModels(NamedTuple):
    """Two models that share their weights.

    Attributes
    ----------
    training
        ``image`` -> ``mask_logits`` float32 ``[N, side, side, 1]``.
    inference
        ``image`` -> ``mask_probability`` float32 ``[N, side, side]``; with an open side it
        keeps the channel, because the reshape needs to know the size.
    """

    training: keras.Model
    inference: keras.Model


def build_segmenter(
    side: int | None = SIDE,
    *,
    filters: tuple[int, ...] = FILTERS,
    width: float = 1.0,
    stem_stride: int = 2,
    attention: bool = False,
) -> SegmenterModels:
    """Build the segmenter.

    Parameters
    ----------
    side
        Height and width of the input in pixels, a multiple of
        ``stem_stride * 2 ** (len(filters) - 1)``; none leaves it open. The weights do not
        depend on it.
    filters
        Filters by stage; each stage halves the resolution.
    width
        Factor on `filters`.
    stem_stride
        1: the first stage is at full resolution. 2: at half of it, about four times faster; a
        mask halved and enlarged again agrees with the LGG masks at a Dice of 0.994.
    attention
        Whether attention gates weight the skip connections.

    Returns
    -------
    SegmenterModels
        The training and the inference model, sharing weights.
    """
    image, tensor = image_input(side)
    sizes = [scaled(count, width) for count in filters]
    skips = [conv_bn(tensor, sizes[0], 3, "down0", strides=stem_stride)]
    for stage, size in enumerate(sizes[1:], start=1):
        tensor = layers.MaxPooling2D(2, name=f"down{stage}_pool")(skips[-1])
        skips.append(_residual(tensor, size, f"down{stage}"))
    tensor = skips.pop()
    for stage in range(len(sizes) - 2, -1, -1):
        # The 1x1 convolution commutes with the enlargement and costs a quarter before it.
        tensor = conv_bn(tensor, sizes[stage], 1, f"up{stage}_reduce")
        tensor = upsample(tensor, 2, f"up{stage}_resize")
        skip = skips.pop()
        if attention:
            skip = _gate(skip, tensor, sizes[stage] // 2, f"up{stage}_gate")
        tensor = layers.Concatenate(name=f"up{stage}_concat")([skip, tensor])
        if stage:
            tensor = _residual(tensor, sizes[stage], f"up{stage}")
        else:
            tensor = conv_bn(tensor, sizes[0], 3, "up0")
    # Decisions and losses stay in float32 under mixed precision.
    logits = layers.Conv2D(1, 1, dtype="float32", name="mask_logits")(tensor)
    if stem_stride > 1:
        logits = upsample(logits, stem_stride, "mask_resize")
    return SegmenterModels(
        training=keras.Model(image, logits, name="segmenter_training"),
        inference=keras.Model(image, _probabilities(logits, side), name="segmenter"),
    )


def _probabilities(logits: keras.KerasTensor, side: int | None) -> keras.KerasTensor:
    if side is None:
        return layers.Activation("sigmoid", dtype="float32", name=OUTPUT_NAME)(logits)
    plane = layers.Activation("sigmoid", dtype="float32", name="mask_sigmoid")(logits)
    return layers.Reshape((side, side), dtype="float32", name=OUTPUT_NAME)(plane)


def _residual(tensor: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    shortcut = conv_bn(tensor, filters, 1, f"{name}_0", relu=False)
    tensor = conv_bn(tensor, filters, 3, f"{name}_1")
    tensor = conv_bn(tensor, filters, 3, f"{name}_2", relu=False)
    tensor = layers.Add(name=f"{name}_add")([shortcut, tensor])
    return layers.Activation("relu", name=f"{name}_out")(tensor)


def _gate(
    skip: keras.KerasTensor, gating: keras.KerasTensor, filters: int, name: str
) -> keras.KerasTensor:
    """Weight a skip connection by additive attention (Oktay et al. 2018, equation 1)."""
    query = conv_bn(gating, filters, 1, f"{name}_query", relu=False)
    key = conv_bn(skip, filters, 1, f"{name}_key", relu=False)
    both = layers.Activation("relu", name=f"{name}_relu")(
        layers.Add(name=f"{name}_add")([query, key])
    )
    weight = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_weight")(both)
    return layers.Multiply(name=f"{name}_out")([skip, weight])
