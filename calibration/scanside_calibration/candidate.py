"""A bundle in memory: what is not written yet runs as it will once it ships.

The CPU backend rewrites a quantised graph when it loads it, so a trial that ran the file in a
session of its own would measure another graph. A `Candidate` is handed to the runtime's own
loader in place of an opened bundle; nothing touches the disk.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from scanside import backends
from scanside.bundle import Bundle
from scanside.contract import ModelFile
from scanside.evidence import Calibration, Parity
from scanside.onnxfile import opset
from scanside.publish import facts
from scanside_calibration.stated import STATED, StatedBackend

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scanside.backends.base import Backend
    from scanside.contract import Manifest, Precision, Role, Tolerance

__all__ = ["Candidate", "running", "trial"]

_NOWHERE: Final = Path("candidate")

_PENDING: Final = "0" * 64


class Candidate(Bundle):
    """A manifest and the files that it names, in memory; made by `Candidate.of`."""

    _files: Mapping[str, bytes]

    @classmethod
    def of(cls, manifest: Manifest, files: Mapping[str, bytes]) -> Candidate:
        """Return the bundle of a manifest and its files.

        Parameters
        ----------
        manifest
            What the bundle declares.
        files
            Content by file name.
        """
        made = cls(_NOWHERE, manifest, _PENDING)
        made._files = files
        return made

    def read(self, field: str) -> bytes:
        """Return the content of the file at a field of the manifest."""
        return self._files[self.manifest.files()[field].file]


def trial(source: Manifest, precision: Precision, models: Mapping[Role, bytes]) -> Candidate:
    """Return a bundle of two models alone, to be run and not to be written.

    Parameters
    ----------
    source
        The manifest of the FP32 bundle.
    precision
        What the models are.
    models
        ONNX files by role.
    """
    parity = Parity(reference="none", slices=1, data="none", max_abs_error=0, same_decision=0)
    calibration = Calibration(
        method="trial", slices=1, patients=1, images_sha256=_PENDING, tools={}
    )
    tolerance: Tolerance = next(iter(source.golden.tolerances.values()))
    names: dict[Role, str] = {role: f"{role}.{precision}.onnx" for role in models}
    manifest = msgspec.structs.replace(
        source,
        default_precision=precision,
        models={
            role: {
                precision: ModelFile(
                    **facts(names[role], content),
                    opset=opset(content),
                    parity=parity,
                    calibration=calibration if precision == "int8" else None,
                )
            }
            for role, content in models.items()
        },
        golden=msgspec.structs.replace(source.golden, tolerances={precision: tolerance}),
    )
    return Candidate.of(manifest, {names[role]: models[role] for role in models})


@contextmanager
def running(
    bundle: Bundle, precision: Precision | None = None, name: str = "cpu"
) -> Iterator[Backend]:
    """Load a bundle's models as the runtime does, and free them.

    Parameters
    ----------
    bundle
        An opened bundle or a `Candidate`.
    precision
        Which models; none for the default.
    name
        The backend; `stated.STATED` for the arithmetic that the files state.
    """
    backend: Backend
    if name == STATED:
        backend = StatedBackend(bundle, precision or bundle.manifest.default_precision)
    else:
        backend = backends.load(name, bundle, precision).backend
    try:
        yield backend
    finally:
        backend.close()
