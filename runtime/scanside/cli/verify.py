"""``scanside verify``: golden parity on this device."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
import numpy as np

from scanside.bundle import Bundle, open_bundle
from scanside.checks import Check, Verification
from scanside.cli.options import backend_options, pin_option
from scanside.cli.say import say, show
from scanside.errors import InputError, ParityError, UsageError
from scanside.pipeline import Pipeline, prepare
from scanside.readers.discover import discover
from scanside.readers.image import read_file
from scanside.verification import compare
from scanside.verification import verify as verify_golden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scanside.contract import Precision

__all__ = ["verify"]

_AT_ONCE: Final = 16
"""Slices of one's own that are compared at once: memory stays flat."""


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@pin_option
@backend_options
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Also compare on these slices, with the bundle's fp32 models as the reference.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def verify(
    *,
    bundle: Path | None,
    bundle_sha256: str | None,
    backend: str,
    precision: Precision | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Check BUNDLE on this device against its golden slices; exit code 5 if it differs.

    Hashes, thresholds, gate, preprocessing, both models, masks and batches are compared with
    what the bundle recorded when it was made, within the tolerances of its manifest.
    """
    opened = open_bundle(bundle, manifest_sha256=bundle_sha256)
    with Pipeline.open(opened, backend=backend, precision=precision) as pipeline:
        fallback = pipeline.fallback
        if fallback is not None:
            say(f"using {pipeline.backend.name}: {fallback}")
        checks = list(verify_golden(opened, pipeline))
        if data is not None:
            checks += _on_data(opened, pipeline, data)
        what = f"{opened.label} {pipeline.backend.precision} on {pipeline.backend.name}"
    failed = [check for check in checks if not check.passed]
    if as_json:
        told = Verification(bundle=what, fallback=fallback, passed=not failed, checks=tuple(checks))
        click.echo(msgspec.json.encode(told))
    else:
        show([f"{what}: {len(checks)} checks", *map(_line, checks)])
    if failed:
        raise ParityError(
            f"{what}: {len(failed)} of {len(checks)} checks failed:"
            f" {', '.join(check.name for check in failed)}",
            remedy="do not use this bundle on this device: fetch or build it again",
        )


def _line(check: Check) -> str:
    verdict = "ok  " if check.passed else "FAIL"
    return f"  {verdict} {check.name:<26} {check.found}; wanted {check.wanted}"


def _on_data(bundle: Bundle, pipeline: Pipeline, folder: Path) -> list[Check]:
    """Compare with the bundle's own fp32 models on the CPU, some slices at a time."""
    backend = pipeline.backend
    if "fp32" not in bundle.manifest.precisions:
        raise UsageError(
            f"--data needs fp32 models to compare with, and {bundle.label} holds"
            f" {', '.join(bundle.manifest.precisions)}",
            remedy="verify without --data, or use a bundle that holds fp32 too",
        )
    if (backend.name, backend.precision) == ("cpu", "fp32"):
        raise UsageError(
            "--data would compare fp32 on cpu with itself",
            accepted="another --backend or --precision, which is compared with fp32 on cpu",
        )
    tolerance = bundle.manifest.golden.tolerances[backend.precision]
    checks: list[Check] = []
    with Pipeline.open(bundle, backend="cpu", precision="fp32") as reference:
        for number, images in enumerate(_batches(folder), start=1):
            wanted, found = (
                (p.backend.classify(images), p.backend.segment(images))
                for p in (reference, pipeline)
            )
            checks += [
                msgspec.structs.replace(check, name=f"{check.name} (data, batch {number})")
                for check in compare(wanted, found, bundle.manifest.thresholds.mask, tolerance)
            ]
    failed = [check for check in checks if not check.passed]
    found_wrong = f"{len(failed)} of {len(checks)} comparisons beyond tolerance"
    return [*failed, Check("data", not failed, found_wrong, "none")]


def _batches(folder: Path) -> Iterator[NDArray[np.uint8]]:
    search = discover([folder])
    for place, reason in search.unreadable:
        raise InputError(f"{place}: {reason}")
    files = search.files
    slices = (prepare(piece.pixels).image for file in files for piece in read_file(file))
    while batch := list(itertools.islice(slices, _AT_ONCE)):
        yield np.stack(batch)
