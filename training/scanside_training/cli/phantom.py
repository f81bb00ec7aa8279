"""`scanside data phantom`: a dataset of phantoms, for machines without patients' images."""

from __future__ import annotations

from pathlib import Path

import click

from scanside.cli.say import say

__all__ = ["phantom"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--patients", type=click.IntRange(min=1), default=20, show_default=True, help="How many."
)
@click.option(
    "--slices", type=click.IntRange(min=1), default=20, show_default=True, help="Slices a patient."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Seed of the first patient; the others follow.",
)
def phantom(folder: Path, patients: int, slices: int, seed: int) -> None:
    """Write phantoms, drawn from a seed, into FOLDER.

    FOLDER must be empty or not exist. The layout is that of the LGG dataset (kaggle_3m), as
    lossless PNG, so that every command that takes a dataset takes these. They are drawings, not
    patients: figures measured on them say nothing about patients.
    """
    from scanside_training.phantom import write_dataset

    positive = write_dataset(folder, seed=seed, patients=patients, slices=slices)
    noun = "phantom" if patients == 1 else "phantoms"
    say(
        f"wrote {patients} {noun}, {patients * slices} slices, {positive} of them with a lesion,"
        f" to {folder}. They are phantoms, not patients: use them to try every stage, and quote"
        " no figure from them"
    )
