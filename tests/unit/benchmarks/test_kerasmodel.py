from __future__ import annotations

import numpy as np
import onnx
import pytest

import toy
from peerbench.kerasmodel import (
    Layer,
    classifier_architecture,
    load_weights,
    read_layers,
    rebuild_classifier,
    rebuild_segmenter,
    segmenter_architecture,
)
from small import open_small

ROLES = ("classifier", "segmenter")


def _layer(filters: int, stride: int = 1) -> Layer:
    return Layer(np.zeros((3, 3, 3, filters), np.float32), np.zeros(filters, np.float32), stride)


def _stored(role: str) -> onnx.ModelProto:
    bundle = open_small()
    if "fp32" not in bundle.manifest.precisions:
        from peerbench.floatmodel import dequantised

        return dequantised(onnx.load_from_string(bundle.read_model(role, "int8")))  # type: ignore[arg-type]
    return onnx.load_from_string(bundle.read_model(role, "fp32"))  # type: ignore[arg-type]


def test_widths_and_strides_are_read_from_shapes() -> None:
    layers = {"down0_conv": _layer(24, 2), "down2_1_conv": _layer(96), "down1_1_conv": _layer(48)}
    assert segmenter_architecture(layers) == {
        "filters": (24, 48, 96), "stem_stride": 2, "attention": False,
    }  # fmt: skip
    assert segmenter_architecture({**layers, "up0_gate_key_conv": _layer(8)})["attention"]
    assert classifier_architecture(onnx.ModelProto(), {"conv1_conv": _layer(16)}) == {
        "width": 0.25, "input_pool": 1,
    }  # fmt: skip


def test_a_halved_input_is_seen() -> None:
    model = onnx.ModelProto()
    node = onnx.helper.make_node(
        "AveragePool", ["x"], ["y"], name="input_pool/AveragePool", kernel_shape=[2, 2]
    )
    model.graph.node.append(node)
    assert classifier_architecture(model, {"conv1_conv": _layer(64)})["input_pool"] == 2


def test_another_architecture_is_refused() -> None:
    layers = read_layers(toy.classifier())
    with pytest.raises(ValueError, match="ResNet-50"):
        classifier_architecture(toy.classifier(), layers)
    with pytest.raises(ValueError, match="ResUNet"):
        segmenter_architecture(layers)


def test_the_shipped_models_are_understood() -> None:
    for role in ROLES:
        layers = read_layers(_stored(role))
        assert all(layer.kernel.shape[-1] == layer.bias.size for layer in layers.values())
        assert len(layers) > 20


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_keras_computes_what_the_file_does(role: str) -> None:
    rebuild = {"classifier": rebuild_classifier, "segmenter": rebuild_segmenter}[role]
    stored = _stored(role)
    model, _ = rebuild(stored)
    images = np.stack([toy.lesion_slice(n, lesion=n % 2 == 0) for n in range(4)])
    wanted = toy.run(stored.SerializeToString(), images)
    assert np.abs(model.predict(images, verbose=0) - wanted).max() <= 1e-3
    layers = read_layers(stored)
    name = next(iter(layers))
    with pytest.raises(ValueError, match="one of the two"):
        load_weights(model, {key: value for key, value in layers.items() if key != name})
    cut = layers[name]._replace(kernel=layers[name].kernel[..., :-1])
    with pytest.raises(ValueError, match="against"):
        load_weights(model, {**layers, name: cut})
