"""The calibrated bundle, assembled in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from scanside.contract import AuxiliaryFile, Golden, ModelFile
from scanside.golden import encode_golden, read_golden
from scanside.onnxfile import opset
from scanside.publish import created, facts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.bundle import Bundle
    from scanside.contract import Manifest, Precision, Role, Tolerance
    from scanside.evidence import Calibration, Guard, HalfCertificate, Parity

__all__ = ["Derived", "assemble"]

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
    recorded
        The classifier's own golden outputs by arithmetic; empty for FP16.
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
    recorded: Mapping[str, NDArray[np.float32]]
    section: str

    def files(self) -> dict[str, bytes]:
        """Return the model files by name."""
        return {_name(role, self.precision): content for role, content in self.models.items()}


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
    files[held.license.text.file] = source.read("$.license.text")
    recorded = {name: values for each in derived for name, values in each.recorded.items()}
    golden = encode_golden(read_golden(source)._replace(recorded=recorded))
    files[held.golden.file] = golden
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
        golden=Golden(
            **facts(held.golden.file, golden),
            tolerances={one: tolerances[one] for one in precisions},
        ),
        guards={one: guard for one, guard in held.guards.items() if one in kept}
        | {each.precision: each.guard for each in derived},
        card=AuxiliaryFile(**facts(held.card.file, files[held.card.file])),
        provenance=msgspec.structs.replace(
            held.provenance,
            command=f"{held.provenance.command}; {command}",
            created=created(),
        ),
    )
    return manifest, files


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
