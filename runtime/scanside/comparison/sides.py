"""What a side of a comparison is: a bundle, in a precision, on a backend."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.bundle import open_bundle
from scanside.comparison.records import Side
from scanside.contract import PRECISIONS
from scanside.errors import BundleError, UsageError
from scanside.pipeline import Pipeline

if TYPE_CHECKING:
    from scanside.contract import Precision

__all__ = ["SYNTAX", "OpenSide", "SideSpec", "open_side", "parse_side"]

SYNTAX: Final = "[BUNDLE][:PRECISION][@BACKEND]"
"""How a side is written."""

_DEFAULT: Final = "default"
_EXPLAINED: Final = (
    f"{SYNTAX}, for instance int8, fp32@cpu, {_DEFAULT}:fp16@auto, path/to/bundle:int8"
)
_BACKEND: Final = re.compile(r"(?P<rest>.*)@(?P<name>[^@/]*)")
_PRECISION: Final = re.compile(r"(?P<rest>.*):(?P<name>[^:/]*)")


class SideSpec(NamedTuple):
    """A side as it was asked for.

    Attributes
    ----------
    text
        As it was given.
    bundle
        Folder or ``.zip``; none for the default bundle.
    precision
        None for the bundle's default.
    backend
        As in ``--backend``.
    """

    text: str
    bundle: Path | None
    precision: Precision | None
    backend: str


class OpenSide(NamedTuple):
    """A side that is ready: its pipeline, and what the records say of it."""

    pipeline: Pipeline
    described: Side


def parse_side(text: str) -> SideSpec:
    """Read ``[BUNDLE][:PRECISION][@BACKEND]``; the file system is not looked at.

    A bare precision, or ``default``, or no bundle at all, means the default bundle. A bundle's
    path whose last part holds ``:`` or ``@`` ends in ``/``; one that is called like a precision
    begins with ``./``.

    Parameters
    ----------
    text
        As it was given.

    Raises
    ------
    UsageError
        If it is empty, or names a precision that there is not, an empty backend, or a precision
        twice.

    Examples
    --------
    >>> parse_side("int8@cpu")[1:]
    (None, 'int8', 'cpu')
    """
    rest, backend = text, "auto"
    if found := _BACKEND.fullmatch(rest):
        rest, backend = found["rest"], found["name"]
        if not backend:
            raise _refused(text, "no backend follows the @")
    precision: Precision | None = None
    if found := _PRECISION.fullmatch(rest):
        rest, precision = found["rest"], _precision(found["name"])
        if precision is None:
            raise _refused(text, f"{found['name']!r} is no precision ({', '.join(PRECISIONS)})")
    if bare := _precision(rest):
        if precision is not None:
            raise _refused(text, "it names two precisions")
        rest, precision = "", bare
    if not text:
        raise _refused(text, "it is empty")
    bundle = None if rest in {"", _DEFAULT} else Path(rest)
    return SideSpec(text, bundle, precision, backend)


def open_side(name: str, spec: SideSpec) -> OpenSide:
    """Open a side's bundle, verified, and load its models.

    Parameters
    ----------
    name
        ``A`` or ``B``, for errors.
    spec
        The side.

    Raises
    ------
    BundleError
        If there is no such bundle, it is damaged, or it does not hold the precision.
    UsageError, BackendError
        As from `scanside.backends.load`.
    """
    if spec.bundle is not None and not spec.bundle.exists():
        raise BundleError(
            f"{name} is {spec.text!r}: no bundle is at {spec.bundle}", accepted=_EXPLAINED
        )
    bundle = open_bundle(spec.bundle)
    held = bundle.manifest.precisions
    if spec.precision is not None and spec.precision not in held:
        raise BundleError(
            f"{name} is {spec.text!r}: {bundle.label} ({bundle.path}) holds no {spec.precision}",
            accepted=f"{', '.join(held)} with this bundle",
            remedy="name a bundle that holds it: path/to/bundle:" + spec.precision,
        )
    pipeline = Pipeline.open(bundle, backend=spec.backend, precision=spec.precision)
    thresholds = bundle.manifest.thresholds
    described = Side(
        asked=spec.text,
        bundle=bundle.label,
        bundle_sha256=bundle.manifest_sha256,
        backend=pipeline.backend.name,
        precision=pipeline.backend.precision,
        fallback=pipeline.fallback,
        computed_by=pipeline.backend.describe(),
        gate=thresholds.gate,
        decision=thresholds.decision,
        mask=thresholds.mask,
    )
    return OpenSide(pipeline, described)


def _precision(name: str) -> Precision | None:
    return next((each for each in PRECISIONS if each == name), None)


def _refused(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text!r} is no side of a comparison: {why}",
        accepted=_EXPLAINED,
        remedy="end a path whose name holds : or @ in /",
    )
