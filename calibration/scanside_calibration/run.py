"""The calibration from a bundle and labelled slices to a verified bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scanside.errors import UsageError
from scanside.publish import check_free, publish
from scanside_calibration.bench import Bench
from scanside_calibration.derive import Tools, derive_fp16, derive_int8
from scanside_calibration.document import Facts, Source
from scanside_calibration.material import gather_ranges
from scanside_calibration.parts import divide
from scanside_calibration.writing import assemble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from scanside.bundle import Bundle
    from scanside.contract import Precision
    from scanside.evaluation.dataset import Dataset
    from scanside_calibration.bench import Stage
    from scanside_calibration.int8.methods import Method
    from scanside_calibration.report import Record
    from scanside_calibration.writing import Derived

__all__ = ["Request", "check_request", "run"]


class Request(NamedTuple):
    """What is asked for.

    Attributes
    ----------
    output
        Where the bundle is to be.
    precisions
        ``int8``, ``fp16`` or both.
    methods
        Methods to compare for INT8.
    slices
        How many give the ranges.
    seed
        Of what is drawn.
    limits
        Of the accuracy guard.
    dropped
        Precisions of the source that the new bundle leaves out.
    always_analyse
        Measure every layer's effect though the guard holds.
    command
        The command line, for the manifest.
    """

    output: Path
    precisions: tuple[Precision, ...]
    methods: tuple[Method, ...]
    slices: int
    seed: int
    limits: Mapping[str, float]
    dropped: tuple[Precision, ...]
    always_analyse: bool
    command: str


def check_request(source: Bundle, request: Request) -> None:
    """Refuse what can't be done, before anything is read.

    Raises
    ------
    UsageError
        If the bundle holds no FP32 models, or a precision that is asked for already.
    OutputError
        If the output exists or can't be written.
    """
    held = source.manifest.precisions
    if "fp32" not in held:
        raise UsageError(
            f"{source.label} holds {', '.join(held)} and no fp32",
            accepted="a bundle with fp32 models: other precisions are made from them",
            remedy="give the bundle that scanside export wrote",
        )
    if there := [precision for precision in request.precisions if precision in held]:
        raise UsageError(
            f"{source.label} holds {' and '.join(there)} already",
            accepted="precisions that it does not hold",
            remedy="give the bundle that scanside export wrote, or another --precision",
        )
    check_free(request.output)


def run(
    source: Bundle,
    dataset: Dataset,
    split: Path | None,
    request: Request,
    record: Record,
    *,
    stage: Stage,
    say: Callable[[str], None],
) -> Bundle:
    """Calibrate a bundle and write the new one.

    Parameters
    ----------
    source
        The bundle with FP32 models; it is not changed.
    dataset
        The labelled slices.
    split
        The split that the models were trained with; none to have one drawn.
    request
        What is asked for.
    record
        Takes what is found, whichever way it ends.
    stage
        Shows progress.
    say
        Takes a line of progress.

    Raises
    ------
    InputError
        If the slices are not accepted: too few, of one patient, not real.
    ParityError
        If the accuracy guard does not hold, or the golden slices are decided otherwise.
    BundleError
        If a model can't be quantised or converted.
    OutputError
        If the bundle can't be written. Nothing is left behind.
    """
    check_request(source, request)
    parts = divide(dataset, split, request.seed)
    material = gather_ranges(dataset, parts, count=request.slices, seed=request.seed, stage=stage)
    say(
        f"{len(material)} slices of {len(material.patients)} patients for the ranges,"
        f" {len(parts.selection)} of others to compare on, {len(parts.validation)} for the guard"
    )
    record.facts = Facts(
        bundle=Source(label=source.label, manifest_sha256=source.manifest_sha256),
        dataset_sha256=dataset.sha256,
        split_sha256=parts.split_sha256,
        images_sha256=material.images_sha256,
        slices=len(material),
        patients=len(material.patients),
        guard_data=parts.said,
        limits=dict(request.limits),
    )
    bench = Bench(source, parts, request.limits, dataset.sha256, stage)
    tools = Tools(bench, material, record, stage)
    derived: list[Derived] = []
    for precision in request.precisions:
        say(f"{precision}: deriving both models")
        if precision == "int8":
            made = derive_int8(tools, request.methods, always_analyse=request.always_analyse)
        else:
            made = derive_fp16(tools)
        derived.append(made)
    manifest, files = assemble(source, derived, dropped=request.dropped, command=request.command)
    say("verifying the bundle against its golden slices")
    return publish(request.output, manifest, files)
