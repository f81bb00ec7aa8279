"""The slice classifier: ResNet-50, with a mask decoder that exists only while it trains.

Slice labels alone are a weak signal on the few dozen patients that a hospital can label. The
masks say where to look: a light decoder (a feature pyramid) predicts them from the encoder's
stages during training, and the exported classifier leaves it out.

The encoder has the layer names of ``keras.applications.ResNet50`` (v1: the stride is in the
first 1x1 convolution of a stage), so that a local ImageNet weights file loads where
``width == 1`` and ``bias`` is on.

References
----------
He et al. 2016, "Deep residual learning for image recognition", CVPR.
Lin et al. 2017, "Feature pyramid networks for object detection", CVPR.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import keras
from keras import layers

from scanside.preprocess import SIDE
from scanside_training.models.layers import BN_MOMENTUM, conv_bn, image_input, scaled, upsample

__all__ = [
    "AUXILIARY_STRIDE",
    "OUTPUT_NAME",
    "ClassifierModels",
    "build_classifier",
]

OUTPUT_NAME: Final = "tumor_probability"

AUXILIARY_STRIDE: Final = 4
"""The auxiliary mask has one value for 4 x 4 pixels behind the input's pooling: the stride of the
first stage."""

_BLOCKS: Final = (3, 4, 6, 3)
_FILTERS: Final = (64, 128, 256, 512)
_EXPANSION: Final = 4
_STEM_FILTERS: Final = 64
_PYRAMID_FILTERS: Final = 128

_EPSILON: Final = 1.001e-5
"""Of the batch normalisations in ``keras.applications``: its weights assume it."""


class ClassifierModels(NamedTuple):
    """Two models that share their weights.

    Attributes
    ----------
    training
        ``image`` -> ``[tumor_logit [N, 1], mask_logits [N, S, S, 1]]``, float32, with
        ``S = side / (AUXILIARY_STRIDE * input_pool)``.
    inference
        ``image`` -> ``tumor_probability`` float32 ``[N, 1]``; without the decoder.
    """

    training: keras.Model
    inference: keras.Model


def build_classifier(
    side: int | None = SIDE, *, width: float = 1.0, bias: bool = False, input_pool: int = 1
) -> ClassifierModels:
    """Build the classifier.

    Parameters
    ----------
    side
        Height and width of the input in pixels, a multiple of 32; none leaves it open. The
        weights do not depend on it.
    width
        Factor on the number of filters of every layer; 1.0 is ResNet-50.
    bias
        Whether convolutions have a bias in front of the batch normalisation. It changes
        nothing that a model can learn; ``keras.applications`` weights need it.
    input_pool
        2: the model halves the slice by area average before its first convolution, which
        makes everything behind it four times cheaper.

    Returns
    -------
    ClassifierModels
        The training and the inference model, sharing weights.
    """
    image, scaled_image = image_input(side)
    if input_pool > 1:
        scaled_image = layers.AveragePooling2D(input_pool, name="input_pool")(scaled_image)
    stages = _encoder(scaled_image, width, bias=bias)
    features = layers.GlobalAveragePooling2D(name="avg_pool")(stages[-1])
    # Decisions and losses stay in float32 under mixed precision.
    logit = layers.Dense(1, dtype="float32", name="tumor_logit")(features)
    probability = layers.Activation("sigmoid", dtype="float32", name=OUTPUT_NAME)(logit)
    mask = _decoder(stages, width)
    return ClassifierModels(
        training=keras.Model(image, [logit, mask], name="classifier_training"),
        inference=keras.Model(image, probability, name="classifier"),
    )


def _encoder(tensor: keras.KerasTensor, width: float, *, bias: bool) -> list[keras.KerasTensor]:
    tensor = layers.ZeroPadding2D(3, name="conv1_pad")(tensor)
    tensor = _conv(tensor, scaled(_STEM_FILTERS, width), 7, "conv1", strides=2, bias=bias)
    tensor = layers.Activation("relu", name="conv1_relu")(tensor)
    tensor = layers.ZeroPadding2D(1, name="pool1_pad")(tensor)
    tensor = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(tensor)
    stages = []
    for stage, (blocks, filters) in enumerate(zip(_BLOCKS, _FILTERS, strict=True), start=2):
        for block in range(1, blocks + 1):
            strides = 2 if block == 1 and stage > 2 else 1  # noqa: PLR2004 - stage 2 is the first
            tensor = _bottleneck(
                tensor,
                scaled(filters, width),
                f"conv{stage}_block{block}",
                strides=strides,
                project=block == 1,
                bias=bias,
            )
        stages.append(tensor)
    return stages


def _bottleneck(
    tensor: keras.KerasTensor, filters: int, name: str, *, strides: int, project: bool, bias: bool
) -> keras.KerasTensor:
    shortcut = tensor
    if project:
        shortcut = _conv(tensor, _EXPANSION * filters, 1, f"{name}_0", strides=strides, bias=bias)
    tensor = _conv(tensor, filters, 1, f"{name}_1", strides=strides, bias=bias)
    tensor = layers.Activation("relu", name=f"{name}_1_relu")(tensor)
    tensor = _conv(tensor, filters, 3, f"{name}_2", bias=bias)
    tensor = layers.Activation("relu", name=f"{name}_2_relu")(tensor)
    tensor = _conv(tensor, _EXPANSION * filters, 1, f"{name}_3", bias=bias)
    tensor = layers.Add(name=f"{name}_add")([shortcut, tensor])
    return layers.Activation("relu", name=f"{name}_out")(tensor)


def _conv(
    tensor: keras.KerasTensor, filters: int, kernel: int, name: str, *, bias: bool, strides: int = 1
) -> keras.KerasTensor:
    tensor = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same" if strides == 1 else "valid",
        use_bias=bias,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(tensor)
    return layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=_EPSILON, name=f"{name}_bn")(
        tensor
    )


def _decoder(stages: list[keras.KerasTensor], width: float) -> keras.KerasTensor:
    """Feature pyramid from stride 32 to stride 4, one logit a position."""
    filters = scaled(_PYRAMID_FILTERS, width)
    tensor = None
    for level in range(len(stages) - 1, -1, -1):
        lateral = conv_bn(stages[level], filters, 1, f"auxiliary{level}_lateral", relu=False)
        if tensor is not None:
            coarse = upsample(tensor, 2, f"auxiliary{level}_up")
            lateral = layers.Add(name=f"auxiliary{level}_add")([lateral, coarse])
        tensor = layers.Activation("relu", name=f"auxiliary{level}_relu")(lateral)
    tensor = conv_bn(tensor, filters, 3, "auxiliary_head")
    return layers.Conv2D(1, 1, dtype="float32", name="mask_logits")(tensor)
