"""From a Keras model to an ONNX graph of the model contract."""

from __future__ import annotations

import hashlib
import logging
import os
from importlib import metadata
from typing import TYPE_CHECKING, Any

from scanside.errors import BackendError, BundleError, ExtraNotInstalledError, InternalError
from scanside_export.check import check_graph
from scanside_export.graphspec import INPUT_NAME, INPUT_SHAPE, OPSET, OUTPUTS
from scanside_export.rewrites.constants import fold_constants, remove_dead
from scanside_export.rewrites.convolution import fold_affine
from scanside_export.rewrites.interface import SCOPE, canonical_scaling, name_interface, stamp
from scanside_export.rewrites.layout import cancel_transposes, simplify_reshapes
from scanside_export.rewrites.naming import name_nodes

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from scanside.contract import Role

__all__ = ["layer_names", "load_keras", "rewrite", "to_onnx", "weights_sha256"]


def load_keras(path: Path) -> Any:  # noqa: ANN401 - keras has no types
    """Load a Keras model for inference.

    Parameters
    ----------
    path
        A ``.keras`` file. Code inside it (Lambda layers) is never run.

    Raises
    ------
    ExtraNotInstalledError
        If TensorFlow or Keras is not installed.
    BackendError
        If Keras runs on another backend than TensorFlow.
    BundleError
        If Keras can't load the file.
    """
    # TensorFlow's C++ side logs about absent GPUs before Python can ask it not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
        import tensorflow as tf  # noqa: F401 - the backend that the conversion traces
    except ImportError as error:
        package = error.name or "tensorflow"
        raise ExtraNotInstalledError("scanside export", package=package, extra="train") from None
    if keras.backend.backend() != "tensorflow":
        raise BackendError(
            f"Keras runs on {keras.backend.backend()} here",
            accepted="the tensorflow backend",
            remedy="unset KERAS_BACKEND, or set it to tensorflow",
        )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers raise
        raise BundleError(
            f"{path}: Keras {keras.__version__} can't load it:"
            f" {str(error).strip().splitlines()[0] if str(error).strip() else repr(error)}",
            accepted="a .keras file of built-in layers, as scanside train writes it",
        ) from error


def to_onnx(model: Any, role: Role, *, version: str | None = None) -> ModelProto:  # noqa: ANN401
    """Convert a Keras model to an ONNX graph of the model contract, and check that it is one.

    Parameters
    ----------
    model
        A Keras model with the input ``image``, uint8 ``[N, 256, 256, 3]``; it is not changed.
    role
        ``classifier`` or ``segmenter``.
    version
        Version of scanside that the file names; none for the installed one.

    Raises
    ------
    ExtraNotInstalledError
        If tf2onnx or onnx is not installed.
    BundleError
        If the model or its graph is not of the contract; the message names every offender.
    """
    try:
        import tf2onnx
    except ImportError as error:
        package = error.name or "tf2onnx"
        raise ExtraNotInstalledError("scanside export", package=package, extra="train") from None
    import tensorflow as tf

    _check_keras(model, role)
    before = weights_sha256(model)
    signature = [tf.TensorSpec([None, *INPUT_SHAPE], tf.uint8, name=INPUT_NAME)]
    function = tf.function(
        lambda image: tf.identity(model(image, training=False)),
        input_signature=signature,
        autograph=False,
    )
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    graph = rewrite(
        converted,
        role,
        layers=layer_names(model),
        version=version or metadata.version("scanside"),
    )
    if weights_sha256(model) != before:
        raise InternalError(f"the export changed the weights of the {role}")
    check_graph(graph, role)
    return graph


def rewrite(model: ModelProto, role: Role, *, layers: frozenset[str], version: str) -> ModelProto:
    """Apply every rewrite, in their order.

    Parameters
    ----------
    model
        What the converter made.
    role
        ``classifier`` or ``segmenter``.
    layers
        The names of the Keras layers.
    version
        Version of scanside that the file names.
    """
    model = name_interface(model, source=INPUT_NAME, output=OUTPUTS[role].name)
    model = fold_constants(model)
    model = simplify_reshapes(model)
    model = remove_dead(model)
    model = cancel_transposes(model)
    model = canonical_scaling(model)
    model = fold_affine(model)
    model = remove_dead(model)
    model = name_nodes(model, layers | {SCOPE})
    properties = {"role": role, "scaling": "(x - 128) / 128 in the graph"}
    return stamp(model, version=version, name=role, properties=properties)


def layer_names(model: Any) -> frozenset[str]:  # noqa: ANN401 - keras has no types
    """Return the names of a Keras model's layers, those of nested models too."""
    names: set[str] = set()
    for layer in model.layers:
        names.add(layer.name)
        if hasattr(layer, "layers"):
            names |= layer_names(layer)
    return frozenset(names)


def weights_sha256(model: Any) -> str:  # noqa: ANN401 - keras has no types
    """Return a hash over a Keras model's weights: their order, shapes, types and values."""
    total = hashlib.sha256()
    for value in model.get_weights():
        total.update(f"{value.dtype} {value.shape}\n".encode())
        total.update(value.tobytes())
    return total.hexdigest()


def _check_keras(model: Any, role: Role) -> None:  # noqa: ANN401 - keras has no types
    """Refuse a model of another shape before minutes are spent on its conversion."""
    wanted = OUTPUTS[role]
    problems = [
        f"{len(tensors)} {what}s"
        for what, tensors in (("input", model.inputs), ("output", model.outputs))
        if len(tensors) != 1
    ]
    if not problems:
        problems += _tensor_problems("input", model.inputs[0], "uint8", INPUT_SHAPE)
        problems += _tensor_problems("output", model.outputs[0], "float32", wanted.shape)
    reduced = sorted(
        layer.name
        for layer in model.layers
        if getattr(layer, "compute_dtype", "") in ("float16", "bfloat16")
    )
    if reduced:
        problems.append(
            f"layers that compute in half precision ({', '.join(reduced[:5])}"
            f"{', ...' if reduced[5:] else ''})"
        )
    if problems:
        raise BundleError(
            f"the {role} has {'; '.join(problems)}",
            accepted=f"one input uint8 {[None, *INPUT_SHAPE]}, one output float32"
            f" {[None, *wanted.shape]}, layers that compute in float32",
            remedy="give the classifier first and the segmenter second, each the inference model"
            " that scanside train writes",
        )


def _tensor_problems(what: str, tensor: Any, dtype: str, shape: tuple[int, ...]) -> list[str]:  # noqa: ANN401
    found = (str(tensor.dtype), tuple(tensor.shape))
    if found == (dtype, (None, *shape)):
        return []
    return [f"the {what} {tensor.name} {found[0]} {list(found[1])}"]
