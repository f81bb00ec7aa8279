"""What both architectures share: input scaling, widths, convolution and upsampling."""

from __future__ import annotations

from typing import Final

import keras
from keras import layers

from scanside.preprocess import CHANNELS

__all__ = ["BN_MOMENTUM", "INPUT_NAME", "conv_bn", "image_input", "scaled", "upsample"]

INPUT_NAME: Final = "image"
"""Name of the models' only input: the model contract's."""

BN_MOMENTUM: Final = 0.95
"""Momentum of the batch statistics: an epoch over a hospital's slices has tens to hundreds of
steps, and the statistics must follow a change of resolution within one."""


def scaled(filters: int, width: float) -> int:
    """Return a number of filters times `width`, as a multiple of 8 and at least 8.

    Multiples of 8 fill the vector registers and tensor cores that run the model.
    """
    return max(8, 8 * round(filters * width / 8))


def image_input(side: int | None) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the uint8 input ``[N, side, side, 3]`` and ``(x - 128) / 128`` of it as float32.

    ``x / 128 - 1`` is the same number: every step is exact in float32.
    """
    image = keras.Input((side, side, len(CHANNELS)), dtype="uint8", name=INPUT_NAME)
    return image, layers.Rescaling(1 / 128, offset=-1.0, dtype="float32", name="scale")(image)


def conv_bn(
    tensor: keras.KerasTensor,
    filters: int,
    kernel: int,
    name: str,
    *,
    strides: int = 1,
    relu: bool = True,
) -> keras.KerasTensor:
    """Convolution (He initialisation, no bias), batch normalisation and, if asked, a ReLU.

    References
    ----------
    He et al. 2015, "Delving deep into rectifiers", ICCV.
    """
    tensor = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(tensor)
    tensor = layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"{name}_bn")(tensor)
    return layers.Activation("relu", name=f"{name}_relu")(tensor) if relu else tensor


def upsample(tensor: keras.KerasTensor, factor: int, name: str) -> keras.KerasTensor:
    """Enlarge bilinearly: one ONNX Resize, where nearest would export as Tile and Transpose."""
    # float32 for logits that are float32: a layer takes the global precision otherwise.
    dtype = "float32" if tensor.dtype == "float32" else None
    return layers.UpSampling2D(factor, interpolation="bilinear", dtype=dtype, name=name)(tensor)
