"""The calibrated bundle: assembled in memory, verified, and only then at its place."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from scanside.bundle import open_bundle, write_bundle
from scanside.contract import AuxiliaryFile, ModelFile
from scanside.errors import OutputError, ParityError, UsageError
from scanside.onnxfile import opset
from scanside.pipeline import Pipeline
from scanside.verification import verify
from scanside.writers.files import output_errors
from scanside_calibration.candidate import facts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scanside.bundle import Bundle
    from scanside.contract import Manifest, Precision, Role, Tolerance
    from scanside.evidence import Calibration, Guard, HalfCertificate, Parity

__all__ = ["Derived", "assemble", "check_output", "write_verified"]

_BEST: Final[tuple[Precision, ...]] = ("int8", "fp32", "fp16")
"""Which precision becomes the default, first the one that is there: FP16 comes last because the
default runs on a CPU, which computes FP16 in float32 at best."""


class Derived(NamedTuple):
    """A precision that was made from FP32.

    Attributes
    ----------
    precision
        Which.
    models
        ONNX files by model.
    parity
        How far they are from FP32.
    calibration
        Where the scales come from; empty for FP16.
    half
        Why it does not overflow; empty for INT8.
    guard
        What the accuracy guard measured.
    tolerance
        Of the golden slices.
    section
        What the model card says of it: Markdown from its heading on.
    """

    precision: Precision
    models: Mapping[Role, bytes]
    parity: Mapping[Role, Parity]
    calibration: Mapping[Role, Calibration]
    half: Mapping[Role, HalfCertificate]
    guard: Guard
    tolerance: Tolerance
    section: str

    def files(self) -> dict[str, bytes]:
        """Return the model files by name."""
        return {_name(role, self.precision): content for role, content in self.models.items()}


def check_output(path: Path) -> None:
    """Refuse a place where no bundle can be written, before any work is done.

    Raises
    ------
    OutputError
        If it exists, or its folder can't be written to.
    """
    if path.exists() or path.is_symlink():
        raise OutputError(
            f"{path} exists already",
            accepted="a path that is free",
            remedy="remove it, or name another --output",
        )
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def assemble(
    source: Bundle,
    derived: Sequence[Derived],
    *,
    dropped: Collection[Precision] = (),
    command: str,
) -> tuple[Manifest, dict[str, bytes]]:
    """Put the calibrated bundle together in memory.

    Parameters
    ----------
    source
        The FP32 bundle.
    derived
        What was made of it.
    dropped
        Precisions of `source` that are left out.
    command
        The command line.

    Returns
    -------
    manifest : Manifest
        Thresholds, golden slices, licence and metrics are those of `source` (the metrics say
        in which precision they were measured).
    files : dict of str to bytes
        Content by file name.

    Raises
    ------
    BundleError
        If `source` changed since it was opened.
    UsageError
        If SOURCE_DATE_EPOCH is set and is no number of seconds.
    """
    held = source.manifest
    kept = [precision for precision in held.precisions if precision not in dropped]
    files = {
        held.models[role][precision].file: source.read_model(role, precision)
        for role in held.models
        for precision in kept
    }
    for each in derived:
        files |= each.files()
    for field in ("$.golden", "$.license.text"):
        files[held.files()[field].file] = source.read(field)
    sections = [each.section.strip() for each in derived]
    card = "\n\n".join([source.read("$.card").decode("utf-8").rstrip(), *sections]) + "\n"
    files[held.card.file] = card.encode()
    models = {
        role: {precision: held.models[role][precision] for precision in kept}
        | {each.precision: _model_file(role, each) for each in derived}
        for role in held.models
    }
    precisions = [*kept, *(each.precision for each in derived)]
    tolerances = held.golden.tolerances | {each.precision: each.tolerance for each in derived}
    manifest = msgspec.structs.replace(
        held,
        models=models,
        default_precision=next(one for one in _BEST if one in precisions),
        golden=msgspec.structs.replace(
            held.golden, tolerances={one: tolerances[one] for one in precisions}
        ),
        guards={one: guard for one, guard in held.guards.items() if one in kept}
        | {each.precision: each.guard for each in derived},
        card=AuxiliaryFile(**facts(held.card.file, files[held.card.file])),
        provenance=msgspec.structs.replace(
            held.provenance,
            command=f"{held.provenance.command}; {command}",
            created=_created(),
        ),
    )
    return manifest, files


def write_verified(destination: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle beside its place, verify every precision, and move it there.

    Parameters
    ----------
    destination
        A folder or a ``.zip`` that does not exist.
    manifest, files
        What `assemble` returned.

    Raises
    ------
    OutputError
        If it can't be written.
    ParityError
        If it does not pass its own golden slices on the CPU. Nothing is left behind.
    """
    check_output(destination)
    with (
        output_errors(destination),
        tempfile.TemporaryDirectory(
            dir=destination.parent, prefix=f".{destination.name}."
        ) as scratch,
    ):
        bundle = write_bundle(Path(scratch) / destination.name, manifest, files)
        for precision in bundle.manifest.precisions:
            _verify(bundle, precision)
        bundle.path.rename(destination)
    return open_bundle(destination)


def _verify(bundle: Bundle, precision: Precision) -> None:
    with Pipeline.open(bundle, backend="cpu", precision=precision) as pipeline:
        failed = [check for check in verify(bundle, pipeline) if not check.passed]
    if failed:
        lines = "; ".join(f"{each.name}: {each.found}, wanted {each.wanted}" for each in failed)
        raise ParityError(
            f"in {precision} the bundle fails its own golden slices ({lines})",
            remedy="try another --method or more --slices",
        )


def _model_file(role: Role, derived: Derived) -> ModelFile:
    content = derived.models[role]
    return ModelFile(
        **facts(_name(role, derived.precision), content),
        opset=opset(content),
        parity=derived.parity[role],
        calibration=derived.calibration.get(role),
        half=derived.half.get(role),
    )


def _name(role: Role, precision: Precision) -> str:
    return f"{role}.{precision}.onnx"


def _created() -> str:
    """Return the time in UTC, or SOURCE_DATE_EPOCH where it is set.

    References
    ----------
    https://reproducible-builds.org/specs/source-date-epoch/
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    try:
        return datetime.fromtimestamp(int(epoch), timezone.utc).isoformat()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {epoch!r}", accepted="whole seconds since 1970-01-01 UTC"
        ) from None
