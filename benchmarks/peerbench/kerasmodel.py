"""The Keras model behind an ONNX file: the architecture built again, the weights set by layer.

The exporter folds batch normalisation into the convolutions. Here every normalisation is the
identity but for its beta, which is the folded bias: the layers that Keras computes are those of
the model that was trained.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto

__all__ = [
    "Architecture",
    "Layer",
    "classifier_architecture",
    "load_weights",
    "read_layers",
    "rebuild_classifier",
    "rebuild_segmenter",
    "segmenter_architecture",
]

_STEM_FILTERS = 64
"""Filters of ResNet-50's first convolution at full width."""

Architecture = dict[str, Any]
"""Keyword arguments of the function that builds it."""


class Layer(NamedTuple):
    """One layer's folded weights.

    Attributes
    ----------
    kernel
        float32, as Keras holds it: ``[kh, kw, in, out]`` or ``[in, out]``.
    bias
        float32 ``[out]``.
    stride
        Of a convolution, else 1.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: int


def read_layers(model: ModelProto) -> dict[str, Layer]:
    """Return the folded weights of a float ONNX model by the name of the Keras layer.

    Parameters
    ----------
    model
        As the exporter writes it: a node is named ``<layer>/<operator>``.
    """
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    added = {
        node.input[0]: node.input[1]
        for node in model.graph.node
        if node.op_type == "Add" and node.input[1] in values
    }
    found = {}
    for node in model.graph.node:
        if node.op_type not in {"Conv", "MatMul"}:
            continue
        weight = numpy_helper.to_array(values[node.input[1]])
        kernel = weight.transpose(2, 3, 1, 0) if node.op_type == "Conv" else weight
        held = node.input[2] if node.input[2:] else added.get(node.output[0])
        bias = np.zeros(kernel.shape[-1], np.float32)
        if held:
            bias = numpy_helper.to_array(values[held]).astype(np.float32).reshape(-1)
        strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1])
        found[node.name.rsplit("/", 1)[0]] = Layer(kernel, bias, strides[0])
    return found


def classifier_architecture(model: ModelProto, layers: Mapping[str, Layer]) -> Architecture:
    """Return the arguments of ``build_classifier`` that gave a model.

    Raises
    ------
    ValueError
        If it is not that architecture.
    """
    if "conv1_conv" not in layers:
        raise ValueError("the classifier has no layer conv1_conv: it is no ResNet-50 of scanside")
    pools = [node for node in model.graph.node if node.name.startswith("input_pool/")]
    sizes = [a.ints[0] for node in pools for a in node.attribute if a.name == "kernel_shape"]
    return {
        "width": layers["conv1_conv"].kernel.shape[-1] / _STEM_FILTERS,
        "input_pool": sizes[0] if sizes else 1,
    }


def segmenter_architecture(layers: Mapping[str, Layer]) -> Architecture:
    """Return the arguments of ``build_segmenter`` that gave a model.

    Raises
    ------
    ValueError
        If it is not that architecture.
    """
    if "down0_conv" not in layers:
        raise ValueError("the segmenter has no layer down0_conv: it is no ResUNet of scanside")
    stages = sorted(
        int(match[1]) for name in layers if (match := re.fullmatch(r"down(\d+)_1_conv", name))
    )
    names = ["down0_conv", *(f"down{stage}_1_conv" for stage in stages)]
    return {
        "filters": tuple(layers[name].kernel.shape[-1] for name in names),
        "stem_stride": layers["down0_conv"].stride,
        "attention": any("_gate_" in name for name in layers),
    }


def rebuild_classifier(model: ModelProto) -> tuple[Any, Architecture]:
    """Return the Keras classifier of a float ONNX model, and its architecture."""
    from scanside_training.models.resnet50 import build_classifier

    layers = read_layers(model)
    architecture = classifier_architecture(model, layers)
    built = build_classifier(**architecture).inference
    load_weights(built, layers)
    return built, architecture


def rebuild_segmenter(model: ModelProto) -> tuple[Any, Architecture]:
    """Return the Keras segmenter of a float ONNX model, and its architecture."""
    from scanside_training.models.resunet import build_segmenter

    layers = read_layers(model)
    architecture = segmenter_architecture(layers)
    built = build_segmenter(**architecture).inference
    load_weights(built, layers)
    return built, architecture


def load_weights(model: Any, layers: Mapping[str, Layer]) -> None:  # noqa: ANN401 - a Keras model
    """Set every weight of a Keras model.

    Parameters
    ----------
    model
        A model whose convolutions ``<name>_conv`` are followed by ``<name>_bn``, or have a bias.
    layers
        Folded weights by the name of the layer.

    Raises
    ------
    ValueError
        If the two do not have the same layers and shapes.
    """
    held = {layer.name: layer for layer in model.layers if layer.weights}
    normalised = {name for name in held if name.endswith("_bn")}
    if set(held) - normalised != set(layers):
        odd = sorted((set(held) - normalised) ^ set(layers))
        raise ValueError(f"layers in one of the two models only: {', '.join(odd[:5])}")
    for name, folded in layers.items():
        layer = held[name]
        if tuple(layer.kernel.shape) != folded.kernel.shape:
            raise ValueError(f"{name}: {tuple(layer.kernel.shape)} against {folded.kernel.shape}")
        if layer.use_bias:
            layer.set_weights([folded.kernel, folded.bias])
            continue
        layer.set_weights([folded.kernel])
        norm = held[f"{name.removesuffix('_conv')}_bn"]
        ones, zeros = np.ones_like(folded.bias), np.zeros_like(folded.bias)
        # sqrt(variance + epsilon) is 1.
        norm.set_weights([ones, folded.bias, zeros, ones - np.float32(norm.epsilon)])
        normalised.discard(norm.name)
    if normalised:
        raise ValueError(f"normalisations without their convolution: {sorted(normalised)[:5]}")
