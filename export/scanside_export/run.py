"""The export from two Keras files to a verified bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scanside.publish import publish
from scanside_export.assemble import Exported, assemble
from scanside_export.convert import load_keras, to_onnx
from scanside_export.golden import CANDIDATES, choose, encode, outputs_of, read_slices
from scanside_export.parity import check_parity, session
from scanside_export.provenance import provenance, read_training

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from scanside.bundle import Bundle
    from scanside.contract import Role
    from scanside_export.assemble import Description

__all__ = ["PARITY_SLICES", "run"]

PARITY_SLICES = 32
"""Slices on which Keras and ONNX are compared: every layer's rounding shows in a few, and
Keras needs a second for each."""


def run(  # noqa: PLR0913 - the inputs of an export, by keyword
    models: Mapping[Role, Path],
    output: Path,
    said: Description,
    *,
    golden: Path,
    data: Path | None,
    dataset: str,
    command: str,
    say: Callable[[str], None],
) -> Bundle:
    """Export two Keras models and write a bundle of them.

    Parameters
    ----------
    models
        The ``.keras`` files.
    output
        The bundle to write.
    said
        What the makers say of it.
    golden
        Phantoms that the golden slices are chosen from.
    data
        Slices on which Keras and ONNX are compared; none for those of `golden`.
    dataset
        Name of the dataset that the models were trained on.
    command
        The command line, for the manifest.
    say
        Called with a line of progress.

    Raises
    ------
    ExtraNotInstalledError
        If the train extra is not installed.
    BundleError
        If a model or its graph is not of the model contract.
    InputError
        If `golden` or `data` is not accepted, or no golden slices can be chosen.
    ParityError
        If a model's outputs differ from Keras's.
    OutputError
        If the bundle can't be written.
    """
    records = {role: read_training(path, role) for role, path in models.items()}
    say(f"reading {golden}" + (f" and {data}" if data else ""))
    candidates = read_slices(golden, CANDIDATES)
    compared = read_slices(data or golden, PARITY_SLICES)
    where = f"{(data or golden).name}, dataset sha256 {compared.sha256[:12]}"
    exported: dict[Role, Exported] = {}
    for role, path in models.items():
        say(f"{role}: converting {path.name}")
        model: Any = load_keras(path)
        content = to_onnx(model, role).SerializeToString()
        say(f"{role}: comparing with Keras on {len(compared.images)} slices")
        parity = check_parity(
            role,
            model,
            content,
            compared.images,
            thresholds=said.thresholds,
            names=compared.names,
            data=where,
        )
        exported[role] = Exported(content, parity)
    say(f"choosing golden slices from {len(candidates.images)}")
    sessions = {role: session(model.content, role) for role, model in exported.items()}
    outputs = outputs_of(candidates.images, sessions["classifier"], sessions["segmenter"])
    chosen = choose(candidates.positive, outputs, said.thresholds)
    kept = type(outputs)(*(values[chosen] for values in outputs))
    manifest, files = assemble(
        exported,
        encode(candidates.images[chosen], kept, said.thresholds),
        said,
        provenance(command, dataset, records),
    )
    say("verifying the bundle against its golden slices")
    return publish(output, manifest, files)
