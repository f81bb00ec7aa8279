"""Graphs of a few nodes, and Keras models whose outputs can be foreseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

import toy
from scanside.contract import Thresholds

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray


class Graphs:
    """Builds ONNX models and runs them unoptimised."""

    def make(
        self,
        nodes: list[onnx.NodeProto],
        inputs: dict[str, list[int | str]],
        outputs: dict[str, list[int | str]],
        **constants: Any,
    ) -> onnx.ModelProto:
        """A model from nodes, float tensors' shapes, and constants by name."""
        from onnx import TensorProto, helper, numpy_helper

        def values(shapes: dict[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(
            nodes,
            "small",
            values(inputs),
            values(outputs),
            [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def run(self, model: onnx.ModelProto, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """The first output of a model, computed as written."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        result: NDArray[np.float32] = session.run(None, inputs)[0]
        return result

    def types(self, model: onnx.ModelProto) -> list[str]:
        """The operators of a graph, in order."""
        return [node.op_type for node in model.graph.node]


@pytest.fixture
def graphs() -> Graphs:
    pytest.importorskip("onnx", reason="the export works on ONNX graphs: needs the train extra")
    return Graphs()


@pytest.fixture
def thresholds() -> Thresholds:
    return Thresholds(gate=0.3, decision=0.9, mask=0.5, chosen="by hand, for the tests")


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four toy patients of eight slices, every other one with a lesion."""
    root = tmp_path_factory.mktemp("dataset")
    for patient in range(4):
        folder = root / f"TOY_{patient}"
        folder.mkdir()
        for number in range(8):
            seed = 8 * patient + number
            image = toy.lesion_slice(seed, lesion=seed % 2 == 0)
            name = folder / f"{folder.name}_{number}"
            cv2.imwrite(f"{name}.png", image[..., ::-1])
            if seed % 2 == 0:
                mask = cv2.blur(image[..., 1], (5, 5)) > 160
                cv2.imwrite(f"{name}_mask.png", mask.astype(np.uint8) * 255)
    return root


class KerasModels:
    """The toy models of ``tests/support/toy.py`` again, in Keras, with BatchNormalization."""

    def classifier(self) -> Any:
        """A bright square of FLAIR anywhere is a tumour."""
        from keras import Model, layers

        image, grey = self._grey()
        peak = layers.AveragePooling2D(16, name="smooth")(grey)
        peak = layers.GlobalMaxPooling2D(name="peak")(peak)
        logit = layers.Dense(1, name="logit")
        output = layers.Activation("sigmoid", name="tumor_probability")(logit(peak))
        self._set_affine(logit, gain=12.0, offset=-3.0)
        return Model(image, output, name="classifier")

    def segmenter(self, *, interpolation: str = "bilinear") -> Any:
        """Bright FLAIR is mask; computed at half of the resolution."""
        from keras import Model, layers

        image, grey = self._grey()
        half = layers.AveragePooling2D(2, name="half")(grey)
        whole = layers.UpSampling2D(2, interpolation=interpolation, name="enlarge")(half)
        logit = layers.Conv2D(1, 1, name="logit")
        plane = layers.Activation("sigmoid", name="mask_sigmoid")(logit(whole))
        self._set_affine(logit, gain=20.0, offset=-6.0)
        output = layers.Reshape((256, 256), name="mask_probability")(plane)
        return Model(image, output, name="segmenter")

    def randomise(self, model: Any, seed: int = 0) -> Any:
        """Give biases and batch statistics values that an untrained model does not have."""
        from keras import layers

        rng = np.random.default_rng(seed)
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                shape = layer.get_weights()[0].shape
                ranges = ((0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.5, 1.5))
                layer.set_weights([rng.uniform(*limits, shape) for limits in ranges])
            elif len(weights := layer.get_weights()) == 2:
                layer.set_weights([weights[0], rng.normal(0, 0.1, weights[1].shape)])
        return model

    def _grey(self) -> tuple[Any, Any]:
        import keras
        from keras import layers

        image = keras.Input((256, 256, 3), dtype="uint8", name="image")
        scaled = layers.Rescaling(1 / 128, offset=-1.0, name="rescale")(image)
        convolution = layers.Conv2D(1, 1, name="mix")
        normalization = layers.BatchNormalization(name="mix_bn")
        grey = normalization(convolution(scaled))
        convolution.set_weights([np.float32([-0.4, 1, 0]).reshape(1, 1, 3, 1), np.float32([0.2])])
        normalization.set_weights([np.float32([v]) for v in (1.5, 0.1, 0.3, 0.7)])
        return image, grey

    def _set_affine(self, layer: Any, *, gain: float, offset: float) -> None:
        """Let a layer compute ``gain * x + offset``, x before the toy's normalisation."""
        scale = 1.5 / np.sqrt(0.7 + 1e-3)
        shift = 0.1 + (0.2 - 0.3) * scale
        weight = np.full(layer.get_weights()[0].shape, gain / scale, np.float32)
        layer.set_weights([weight, np.float32([offset - gain * shift / scale])])


@pytest.fixture
def keras_models() -> KerasModels:
    pytest.importorskip("keras", reason="needs the train extra")
    return KerasModels()
