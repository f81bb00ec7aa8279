"""A float bundle beside one that ships INT8 alone, so that scanside's own FP32 can be measured."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from scanside.bundle import write_bundle
from scanside.contract import ModelFile, Tolerance
from scanside.evidence import Parity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scanside.bundle import Bundle
    from scanside.contract import Role

__all__ = ["write_float_bundle"]


def write_float_bundle(source: Bundle, models: Mapping[Role, bytes], destination: Path) -> Bundle:
    """Write a bundle of float models with everything else of another one.

    Parameters
    ----------
    source
        The INT8 bundle.
    models
        Its dequantised models.
    destination
        A folder that does not exist.
    """
    manifest = source.manifest
    files = {
        entry.file: source.read(field)
        for field, entry in manifest.files().items()
        if not isinstance(entry, ModelFile)
    }
    entries: dict[Role, ModelFile] = {}
    for role, content in models.items():
        name = f"{role}.fp32.onnx"
        files[name] = content
        entries[role] = ModelFile(
            file=name,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            opset=manifest.models[role]["int8"].opset,
            parity=Parity(
                reference="none: dequantised for a benchmark",
                slices=1,
                data="none",
                max_abs_error=0.0,
                same_decision=0.0,
            ),
        )
    tolerance: Tolerance = next(iter(manifest.golden.tolerances.values()))
    derived = msgspec.structs.replace(
        manifest,
        name=f"{manifest.name}-float",
        description="Dequantised for a benchmark; never to be shipped.",
        default_precision="fp32",
        models={role: {"fp32": entry} for role, entry in entries.items()},
        golden=msgspec.structs.replace(manifest.golden, tolerances={"fp32": tolerance}),
        guards={},
    )
    return write_bundle(destination, derived, files)
