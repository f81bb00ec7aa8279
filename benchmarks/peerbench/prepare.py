"""Everything the cases need, made once: the peers' models, the slices, the guard's verdicts.

Run as a process of its own, so that no thread of a training stack lives on beside the cases:
``python -m peerbench.prepare REQUEST.json``. What it made is described in ``prepared.json``,
and kept until the bundle, the data or a library changes.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import onnx

from peerbench import kerasmodel
from peerbench.floatbundle import write_float_bundle
from peerbench.floatmodel import count_macs, dequantised
from peerbench.prepared import Prepared, Request
from peerbench.protocol import emit
from peerbench.ptq import OpenVinoPeer, post_training_quantise
from peerbench.slicechoice import whole_patients
from scanside.backends.onnxruntime import load as load_cpu
from scanside.bundle import open_bundle
from scanside.contract import ROLES
from scanside.errors import BackendError, BundleError
from scanside.evaluation.dataset import index_dataset
from scanside.evaluation.slices import load_image
from scanside.evaluation.splits import check_split, make_split, read_split, write_split
from scanside.gate import Route, route
from scanside.pipeline import Pipeline, prepare
from scanside_calibration.guard import LIMITS, judge
from scanside_calibration.material import gather
from scanside_calibration.observe import observe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.contract import Precision, Role
    from scanside.evaluation.dataset import Dataset
    from scanside.evaluation.slices import DatasetSlice

__all__ = ["main"]

KERAS_LIMIT: Final = 1e-3
"""Largest difference of any output from the ONNX model's: beyond it, the Keras model is another."""

_CHECKED_SLICES: Final = 16
_SOURCES: Final = (
    "prepare.py",
    "prepared.py",
    "floatmodel.py",
    "floatbundle.py",
    "kerasmodel.py",
    "ptq.py",
    "slicechoice.py",
)
"""What is prepared depends on these, too."""

_PACKAGES: Final = ("keras", "nncf", "onnx", "onnxruntime", "openvino", "tensorflow")


def main() -> None:
    """Prepare, or keep what was prepared for the same request."""
    request = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Request)
    folder = Path(request.folder)
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "prepared.json"
    bundle = open_bundle(request.bundle)
    if "int8" not in bundle.manifest.precisions:
        raise SystemExit(
            f"{bundle.path}: the bundle holds no INT8 models, which the benchmark is about;"
            " calibrate it first: scanside calibrate"
        )
    dataset = index_dataset(Path(request.data))
    key = _key(request, bundle, dataset)
    if done.exists() and msgspec.json.decode(done.read_bytes())["key"] == key:
        emit("prepared", seconds=0.0)
        return
    started = time.perf_counter()
    done.write_bytes(msgspec.json.encode(_prepare(request, folder, key, bundle, dataset)))
    emit("prepared", seconds=round(time.perf_counter() - started, 1))


def _key(request: Request, bundle: Bundle, dataset: Dataset) -> str:
    parts = [
        bundle.manifest_sha256,
        str(bundle.path.resolve()),
        str(dataset.root.resolve()),
        dataset.sha256,
        str(request.slices),
        hashlib.sha256(Path(request.split).read_bytes()).hexdigest() if request.split else "",
        *(f"{name} {version(name)}" for name in _PACKAGES),
        *(
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (Path(__file__).with_name(name) for name in _SOURCES)
        ),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _prepare(
    request: Request, folder: Path, key: str, bundle: Bundle, dataset: Dataset
) -> Prepared:
    _clear(folder)
    split_file = _split(request, folder, dataset)
    chosen = whole_patients(dataset.slices, request.slices)
    images = [_image(item) for item in chosen]
    floats = _float_models(bundle, folder)
    architectures, errors = _keras_models(folder, floats, images[:: max(1, len(images) // 16)])
    float_bundle = _float_bundle(bundle, folder, floats)
    calibration = gather(dataset, split_file)
    for role in ROLES:
        post_training_quantise(
            folder / f"{role}.fp32.onnx",
            folder / f"{role}.nncf.xml",
            list(calibration.batches(1)),
        )
    validation = dataset.of(read_split(split_file).validation)
    reference = load_cpu(float_bundle, "fp32")
    thresholds = bundle.manifest.thresholds
    routes = [
        route(float(reference.classify(image[np.newaxis])[0, 0]), thresholds) for image in images
    ]
    ours = bundle.manifest.models["classifier"]["int8"].calibration
    return Prepared(
        key=key,
        files=tuple(str(item.image.resolve()) for item in chosen),
        everything=tuple(str(item.image.resolve()) for item in dataset.slices),
        segmented=tuple(at for at, way in enumerate(routes) if way is Route.SEGMENT),
        skipped=tuple(at for at, way in enumerate(routes) if way is Route.SKIP),
        gate=thresholds.gate,
        mask=thresholds.mask,
        bundle=str(bundle.path.resolve()),
        float_bundle=str(float_bundle.path.resolve()),
        models={
            "onnx": _pair(folder, "fp32.onnx"),
            "keras": _pair(folder, "keras"),
            "nncf": _pair(folder, "nncf.xml"),
        },
        macs={role: count_macs(model) for role, model in floats.items()},
        architectures=architectures,
        keras_error=errors,
        guard=_guard(bundle, reference, folder, validation),
        facts={
            "bundle": bundle.label,
            "bundle_sha256": bundle.manifest_sha256,
            "float models": "the bundle's own"
            if "fp32" in bundle.manifest.precisions
            else "dequantised from the bundle's INT8",
            "dataset_sha256": dataset.sha256,
            "calibration slices of NNCF": len(calibration),
            "the same slices as the bundle's calibration": ours is not None
            and ours.images_sha256 == calibration.images_sha256,
            "versions": {name: version(name) for name in _PACKAGES},
            "cores": len(os.sched_getaffinity(0)),
            "guard recorded in the manifest": msgspec.to_builtins(
                bundle.manifest.guards.get("int8")
            ),
        },
    )


def _clear(folder: Path) -> None:
    """Remove what an earlier preparation left, and nothing else."""
    import shutil

    for path in (*folder.glob("*.onnx"), *folder.glob("*.keras"), *folder.glob("*.nncf.*")):
        path.unlink()
    if (folder / "float-bundle").exists():
        shutil.rmtree(folder / "float-bundle")
    (folder / "split.json").unlink(missing_ok=True)


def _split(request: Request, folder: Path, dataset: Dataset) -> Path:
    """Return the split: the one that was given, or the one the default bundle is made with."""
    if request.split:
        check_split(read_split(Path(request.split)), dataset)
        return Path(request.split)
    path = folder / "split.json"
    write_split(path, make_split(dataset, seed=1, validation=0.1705, test=0.0))
    return path


def _image(item: DatasetSlice) -> NDArray[np.uint8]:
    return prepare(load_image(item)).image


def _pair(folder: Path, suffix: str) -> tuple[str, str]:
    first, second = (str((folder / f"{role}.{suffix}").resolve()) for role in ROLES)
    return first, second


def _float_models(bundle: Bundle, folder: Path) -> dict[Role, onnx.ModelProto]:
    precision: Precision = "fp32" if "fp32" in bundle.manifest.precisions else "int8"
    floats = {}
    for role in ROLES:
        stored = onnx.load_from_string(bundle.read_model(role, precision))
        floats[role] = dequantised(stored)
        onnx.save(floats[role], folder / f"{role}.fp32.onnx")
    return floats


def _float_bundle(bundle: Bundle, folder: Path, floats: dict[Role, onnx.ModelProto]) -> Bundle:
    if "fp32" in bundle.manifest.precisions:
        return bundle
    content = {role: model.SerializeToString() for role, model in floats.items()}
    return write_float_bundle(bundle, content, folder / "float-bundle")


def _keras_models(
    folder: Path, floats: dict[Role, onnx.ModelProto], images: list[NDArray[np.uint8]]
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Build, check and save the Keras models."""
    import onnxruntime

    batch = np.stack(images[:_CHECKED_SLICES])
    builders = {
        "classifier": kerasmodel.rebuild_classifier,
        "segmenter": kerasmodel.rebuild_segmenter,
    }
    architectures: dict[str, dict[str, Any]] = {}
    errors: dict[str, float] = {}
    for role, model in floats.items():
        built, architectures[role] = builders[role](model)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        wanted = session.run(None, {"image": batch})[0]
        errors[role] = float(np.abs(built.predict(batch, verbose=0) - wanted).max())
        if not errors[role] <= KERAS_LIMIT:
            raise SystemExit(
                f"the Keras {role} differs from its ONNX file by {errors[role]:.2g}, more than"
                f" {KERAS_LIMIT:g}: it is not the same model and would be no fair peer"
            )
        built.save(folder / f"{role}.keras")
    return architectures, errors


def _guard(
    bundle: Bundle, reference: Backend, folder: Path, slices: Sequence[DatasetSlice]
) -> dict[str, dict[str, Any]]:
    """Judge every INT8 implementation against the float models on the validation patients."""
    thresholds = bundle.manifest.thresholds
    fp32 = observe(slices, reference, thresholds.mask)
    peer = OpenVinoPeer(folder / "classifier.nncf.xml", folder / "segmenter.nncf.xml", "int8")
    verdicts = {
        "OpenVINO, NNCF INT8": _verdict(fp32, observe(slices, peer, thresholds.mask), bundle)
    }
    peer.close()
    for name in ("cpu", "openvino"):
        try:
            pipeline = Pipeline.open(bundle, backend=name, precision="int8")
        except (BackendError, BundleError) as error:
            verdicts[f"scanside INT8, {name}"] = {"absent": str(error)}
            continue
        with pipeline:
            other = observe(slices, pipeline.backend, thresholds.mask)
        verdicts[f"scanside INT8, {name}"] = _verdict(fp32, other, bundle)
    return verdicts


def _verdict(fp32: Any, other: Any, bundle: Bundle) -> dict[str, Any]:  # noqa: ANN401 - Observed
    recorded = bundle.manifest.guards.get("int8")
    limits = {**LIMITS, **(recorded.limits if recorded else {})}
    verdict = judge(fp32, other, bundle.manifest.thresholds, limits)
    gate = bundle.manifest.thresholds.gate
    one, two = fp32.outcomes.probability, other.outcomes.probability
    return {
        "passed": verdict.passed,
        "slices": int(one.size),
        "measured": verdict.measured(),
        "limits": limits,
        "gate_flips": int(np.sum((one >= gate) != (two >= gate))),
        "probability_difference_p99": float(np.percentile(np.abs(one - two), 99)),
    }


if __name__ == "__main__":
    main()
