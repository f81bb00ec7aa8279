"""Weights to start from: a model of a former run, or ImageNet's.

Everything is read from a local file; nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h5py
import keras
import numpy as np

from scanside.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["load_initial"]

_IMAGENET_MEAN: Final = (123.68, 116.779, 103.939)
"""Mean R, G and B that ``keras.applications.resnet50.preprocess_input`` subtracts."""

_OFFSET: Final = 128.0
_SCALE: Final = 128.0
"""The model's own scaling is ``(x - 128) / 128``."""


def load_initial(model: keras.Model, path: Path) -> None:
    """Overwrite a training model's weights by those of a file.

    The auxiliary decoder, and with ImageNet weights the head, keep their random weights.

    Parameters
    ----------
    model
        The training model of `build_classifier` or `build_segmenter`.
    path
        A ``.keras`` inference model of the same architecture, or an ``.h5`` weights file of
        ``keras.applications.ResNet50`` for a classifier of full width with biases.

    Raises
    ------
    InputError
        If the file cannot be read or does not fit the architecture.
    """
    if path.suffix == ".keras":
        _load_model(model, path)
    elif path.suffix == ".h5":
        _load_imagenet(model, path)
    else:
        raise InputError(
            f"the initial weights {path}", accepted="a .keras model, or an .h5 file of ImageNet's"
        )


def _load_model(model: keras.Model, path: Path) -> None:
    try:
        source = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"the initial model {path} could not be read: {error}") from error
    known = {variable.path: variable for variable in model.variables}
    for variable in source.variables:
        target = known.get(variable.path)
        if target is None or target.shape != variable.shape:
            raise InputError(
                f"the initial model {path} has {variable.path} {tuple(variable.shape)}, the model"
                f" to train has {'none' if target is None else tuple(target.shape)}",
                accepted="a model of the architecture that [model] describes",
            )
        target.assign(variable)


def _load_imagenet(model: keras.Model, path: Path) -> None:
    weights = _read_h5(path)
    for layer in model.layers:
        if not layer.weights or not layer.name.startswith("conv"):
            continue
        values = weights.get(layer.name, [])
        if [value.shape for value in values] != [tuple(item.shape) for item in layer.weights]:
            raise InputError(
                f"{path} does not fit the layer {layer.name}: it has"
                f" {[value.shape for value in values]},"
                f" the model {[tuple(item.shape) for item in layer.weights]}",
                accepted="weights of keras.applications.ResNet50, and a classifier with"
                " model.width = 1.0 and model.bias = true",
            )
        layer.set_weights(_fold_scaling(*values) if layer.name == "conv1_conv" else values)


def _read_h5(path: Path) -> dict[str, list[NDArray[Any]]]:
    try:
        with h5py.File(path, "r") as file:
            return {
                _text(name): [
                    np.asarray(file[_text(name)][_text(weight)])
                    for weight in file[_text(name)].attrs["weight_names"]
                ]
                for name in file.attrs["layer_names"]
            }
    except (OSError, KeyError) as error:
        raise InputError(
            f"the initial weights {path} could not be read: {error}",
            accepted="a weights file of keras.applications.ResNet50 (.h5)",
        ) from error


def _fold_scaling(kernel: NDArray[Any], bias: NDArray[Any]) -> list[NDArray[Any]]:
    """Bring ImageNet's scaling of the input into the first convolution.

    Its weights expect B, G, R with the mean subtracted; this model gives them
    ``(x - 128) / 128`` of R, G, B. The result is the same but for the padding, which stands for
    128 here and for the mean there: it touches the outermost three pixels.
    """
    rgb = kernel[:, :, ::-1, :]
    shift = np.tensordot(rgb.sum(axis=(0, 1)), _OFFSET - np.array(_IMAGENET_MEAN), axes=(0, 0))
    return [rgb * _SCALE, bias + shift]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
