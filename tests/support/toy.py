"""A bundle whose models are a few ONNX nodes, so that every output can be foreseen.

Classifier: bright FLAIR anywhere, against pre-contrast, is a tumour. Segmenter: bright FLAIR is
mask. Both look at pre-contrast too, so that swapped channels change the outputs.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from scanside.bundle import Bundle, write_bundle
from scanside.contract import (
    AuxiliaryFile,
    Calibration,
    Golden,
    InputContract,
    License,
    Manifest,
    ModelFile,
    Provenance,
    Thresholds,
    Tolerance,
)
from scanside.evidence import Parity

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

OPSET = 17
GATE, DECISION, MASK = 0.3, 0.9, 0.5
SIDE = 256


def lesion_slice(seed: int, *, lesion: bool = True, side: int = SIDE) -> NDArray[np.uint8]:
    """A head-like disc, darker in pre-contrast, with a bright disc in FLAIR where asked for."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] * (SIDE / side)
    head = (rows - 128) ** 2 + (columns - 124) ** 2 < 96**2
    image = np.zeros((side, side, 3), np.float32)
    image[head] = (90, 100, 110)
    image += rng.normal(0, 4, image.shape)
    if lesion:
        where = (rows - 80 - rng.integers(20)) ** 2 + (columns - 90 - rng.integers(30)) ** 2 < 22**2
        image[where] += (-20, 110, 40)
    return np.clip(image, 0, 255).astype(np.uint8)


def classifier() -> onnx.ModelProto:
    """The toy classifier."""
    return _model(
        [
            helper.make_node("AveragePool", ["grey"], ["pooled"], kernel_shape=[16, 16],
                             strides=[16, 16]),
            helper.make_node("GlobalMaxPool", ["pooled"], ["peak"]),
            helper.make_node("Mul", ["peak", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["logit4"]),
            helper.make_node("Sigmoid", ["logit4"], ["p4"]),
            helper.make_node("Flatten", ["p4"], ["tumor_probability"], axis=1),
        ],
        {"gain": 12.0, "offset": -3.0},
        ("tumor_probability", ["batch", 1]),
    )  # fmt: skip


def segmenter() -> onnx.ModelProto:
    """The toy segmenter."""
    return _model(
        [
            helper.make_node("AveragePool", ["grey"], ["smooth"], kernel_shape=[3, 3],
                             pads=[1, 1, 1, 1]),
            helper.make_node("Mul", ["smooth", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["logit4"]),
            helper.make_node("Sigmoid", ["logit4"], ["p4"]),
            helper.make_node("Reshape", ["p4", "shape"], ["mask_probability"]),
        ],
        {"gain": 20.0, "offset": -6.0},
        ("mask_probability", ["batch", SIDE, SIDE]),
    )  # fmt: skip


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, float], output: tuple[str, list[str | int]]
) -> onnx.ModelProto:
    start = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("Add", ["unit", "shift"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "mix"], ["grey"]),
    ]
    held = {"scale": 1 / 128, "shift": -1.0, **constants}
    initializers = [numpy_helper.from_array(np.float32(v), name) for name, v in held.items()]
    mix = np.float32([-0.4, 1.0, 0.0]).reshape(1, 3, 1, 1)
    initializers += [
        numpy_helper.from_array(mix, "mix"),
        numpy_helper.from_array(np.int64([-1, SIDE, SIDE]), "shape"),
    ]
    used = {name for node in [*start, *nodes] for name in node.input}
    graph = helper.make_graph(
        [*start, *nodes],
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [i for i in initializers if i.name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a model on ONNX Runtime's CPU provider."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {"image": images})[0]
    return result


def golden(models: tuple[bytes, bytes], thresholds: Thresholds) -> bytes:
    """The golden slices of a toy bundle: three with a lesion, three without."""
    images = np.stack([lesion_slice(n, lesion=n % 2 == 0) for n in range(6)])
    probability, planes = run(models[0], images), run(models[1], images)
    routed = probability[:, 0] >= thresholds.gate
    tumor = [
        "false" if not routed[n] else "true" if (planes[n] >= thresholds.mask).any()
        else "unknown" if probability[n, 0] >= thresholds.decision else "false"
        for n in range(6)
    ]  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, images=images, tumor_probability=probability, mask_probability=planes,
        gate=thresholds.gate, decision=thresholds.decision, mask=thresholds.mask,
        route=np.where(routed, "segment", "skip"), tumor=np.array(tumor),
    )  # fmt: skip
    return buffer.getvalue()


def parts(
    *, exchange: bool = False, thresholds: Thresholds | None = None
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the files of a toy bundle."""
    held = thresholds or Thresholds(gate=GATE, decision=DECISION, mask=MASK, chosen="by hand")
    models = (classifier().SerializeToString(), segmenter().SerializeToString())
    stored = models[::-1] if exchange else models
    files = {
        "classifier.fp32.onnx": stored[0],
        "segmenter.fp32.onnx": stored[1],
        "golden.npz": golden(models, held),
        "MODEL_CARD.md": b"# toy\n",
        "LICENSE-WEIGHTS": b"none\n",
    }

    def facts(name: str) -> dict[str, object]:
        content = files[name]
        digest = hashlib.sha256(content).hexdigest()
        return {"file": name, "sha256": digest, "size": len(content)}

    parity = Parity(reference="itself", slices=6, data="toy", max_abs_error=0.0, same_decision=1.0)
    manifest = Manifest(
        name="toy",
        version="1",
        description="Toy models of a few nodes.",
        input=InputContract(),
        thresholds=held,
        default_precision="fp32",
        models={
            role: {"fp32": ModelFile(**facts(f"{role}.fp32.onnx"), opset=OPSET, parity=parity)}
            for role in ("classifier", "segmenter")
        },
        golden=Golden(
            **facts("golden.npz"),
            tolerances={
                "fp32": Tolerance(
                    tumor_probability=1e-3, mask_probability=1e-2, mask_pixels=0.999,
                    mask_dice=0.995,
                )
            },
        ),
        card=AuxiliaryFile(**facts("MODEL_CARD.md")),
        license=License(
            name="none", notice="Toy weights.", text=AuxiliaryFile(**facts("LICENSE-WEIGHTS"))
        ),
        provenance=Provenance(
            command="tests", commit="none", created="2026-01-01T00:00:00Z", dataset="toy",
            dataset_sha256=None, versions={},
        ),
        metrics={},
    )  # fmt: skip
    return manifest, files


def with_int8(manifest: Manifest, files: dict[str, bytes]) -> tuple[Manifest, dict[str, bytes]]:
    """Return the parts as if they held INT8 as well: its models are those in FP32."""
    calibration = Calibration(
        method="max", slices=32, patients=2, images_sha256="0" * 64, tools={"numpy": "2"}
    )
    models = {
        role: held
        | {
            "int8": msgspec.structs.replace(
                held["fp32"], file=f"{role}.int8.onnx", calibration=calibration
            )
        }
        for role, held in manifest.models.items()
    }
    tolerances = manifest.golden.tolerances
    golden = msgspec.structs.replace(
        manifest.golden, tolerances=tolerances | {"int8": tolerances["fp32"]}
    )
    copied = {f"{role}.int8.onnx": files[f"{role}.fp32.onnx"] for role in models}
    return msgspec.structs.replace(manifest, models=models, golden=golden), files | copied


def write(destination: Path) -> Bundle:
    """Write a toy bundle."""
    return write_bundle(destination, *parts())
