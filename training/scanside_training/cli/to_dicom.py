"""`scanside data to-dicom`: labelled slices as DICOM studies with synthetic identities."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scanside.cli.say import say
from scanside.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from scanside_training.dicom.plan import Scale
    from scanside_training.dicom.write import Kind

__all__ = ["to_dicom"]


@click.command("to-dicom")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for a study a patient; empty or not there.",
)
@click.option("--patient", "patients", multiple=True, help="Only this patient; may be repeated.")
@click.option(
    "--kind",
    type=click.Choice(["classic", "enhanced"]),
    default="classic",
    show_default=True,
    help="A file a slice, or a file a series.",
)
@click.option(
    "--scale",
    type=click.Choice(["exact", "odd", "unwindowed"]),
    default="exact",
    show_default=True,
    help="Gains and offsets that the window undoes exactly; odd ones; odd ones without a window.",
)
@click.option(
    "--syntax",
    type=click.Choice(["uncompressed", "rle", "jpeg-ls", "jpeg2000"]),
    default="uncompressed",
    show_default=True,
)
@click.option(
    "--variant",
    default="plain",
    show_default=True,
    metavar="NAME",
    help="A named variant, good or bad; an unknown name lists them.",
)
@click.option(
    "--spacing",
    type=(float, float, float),
    default=(0.9, 0.9, 5.0),
    show_default=True,
    metavar="ROW COLUMN BETWEEN",
    help="Millimetres; the dataset does not say what they were.",
)
def to_dicom(  # noqa: PLR0913 - one parameter an option
    *,
    folder: Path,
    output: Path,
    patients: tuple[str, ...],
    kind: Kind,
    scale: Scale,
    syntax: str,
    variant: str,
    spacing: tuple[float, float, float],
) -> None:
    """Write every patient's slices as a DICOM study of three MR series.

    FOLDER is a labelled dataset. Identities are synthetic: no name of the dataset's patients is
    in the files, only in the names of the folders.
    """
    import numpy as np

    from scanside.evaluation.layout import find_slices
    from scanside.evaluation.slices import DatasetSlice, load_image
    from scanside_training.dicom.plan import Identity, plan_study
    from scanside_training.dicom.variants import BAD, GOOD
    from scanside_training.dicom.write import VARIANTS, write_study

    if variant not in VARIANTS:
        raise click.BadParameter(f"{variant!r}; accepted: {', '.join(VARIANTS)}")
    if variant in BAD and kind != "classic":
        raise UsageError(
            f"--variant {variant} with --kind {kind}",
            accepted=f"--kind {kind} with {', '.join(GOOD)}; the others are made of classic files",
        )
    if output.exists() and any(output.iterdir()):
        raise OutputError(f"{output} is not empty", accepted="a folder that is empty or not there")
    _, found, problems = find_slices(folder)
    for problem in problems:
        say(f"left out: {problem}")
    unknown = set(patients) - {item.patient for item in found}
    if unknown or not found:
        raise InputError(
            f"{folder} holds no {', '.join(sorted(unknown)) or 'slices'}",
            accepted="patients of the dataset",
        )
    files = studies = 0
    for patient, slices in groupby(found, key=lambda item: item.patient):
        if patients and patient not in patients:
            continue
        images = np.stack([load_image(DatasetSlice(*item, tumor_px=0)) for item in slices])
        studies += 1
        plans = plan_study(
            images,
            study=f"{patient}/{variant}/{scale}",
            identity=Identity(name=f"Synthetic^{studies:04d}", number=f"SYN-{studies:04d}"),
            scale=scale,
            spacing=spacing,
        )
        files += write_study(plans, output / patient, kind=kind, variant=variant, syntax=syntax)
    say(f"{output}: {studies} studies, {files:,} files, {variant}")
