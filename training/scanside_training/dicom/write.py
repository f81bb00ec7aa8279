"""Synthetic studies to disk."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Literal

from scanside.readers.dicom.header import require_pydicom
from scanside.writers.files import write_atomic
from scanside_training.dicom.datasets import classic, enhanced
from scanside_training.dicom.variants import BAD, GOOD

if TYPE_CHECKING:
    from pathlib import Path

    from scanside_training.dicom.plan import SeriesPlan

__all__ = ["KINDS", "SYNTAXES", "VARIANTS", "Kind", "write_study"]

Kind = Literal["classic", "enhanced"]
KINDS: Final[tuple[Kind, ...]] = ("classic", "enhanced")

SYNTAXES: Final = {
    "uncompressed": None,
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
}

VARIANTS: Final = (*GOOD, *BAD)


def write_study(
    plans: list[SeriesPlan],
    folder: Path,
    *,
    kind: Kind = "classic",
    variant: str = "plain",
    syntax: str = "uncompressed",
) -> int:
    """Write a study, a folder a series.

    Parameters
    ----------
    plans
        Its series.
    folder
        Where to write.
    kind
        Classic or enhanced MR.
    variant
        One of `VARIANTS`; the bad ones are of classic files.
    syntax
        One of `SYNTAXES`.

    Returns
    -------
    int
        The number of files.

    Raises
    ------
    ExtraNotInstalledError
        If pydicom is not installed.
    OutputError
        If a file cannot be written.
    """
    require_pydicom()
    make = enhanced if kind == "enhanced" else classic
    files = [make(plan) for plan in GOOD.get(variant, GOOD["plain"])(plans)]
    if variant in BAD:
        BAD[variant].spoil(files)
    written = 0
    for datasets in files:
        for at, dataset in enumerate(datasets, 1):
            encoded = SYNTAXES[syntax]
            if encoded is not None:
                dataset.compress(encoded, generate_instance_uid=False)
            buffer = io.BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            name = f"series_{int(dataset.SeriesNumber)}/{at:04d}.dcm"
            write_atomic(folder / name, buffer.getvalue())
            written += 1
    return written
