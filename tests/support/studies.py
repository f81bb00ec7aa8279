"""Synthetic studies on disk, and what is read back from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import toy
from scanside.assembly.assemble import assemble
from scanside.assembly.choose import Chosen, choose
from scanside.assembly.collect import collect
from scanside.assembly.rules import load_rules
from scanside.readers.discover import discover
from scanside_training.dicom.plan import Identity, SeriesPlan, plan_study
from scanside_training.dicom.write import write_study

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.study.model import Study
    from scanside.study.volume import WindowRule
    from scanside_training.dicom.plan import Scale
    from scanside_training.dicom.write import Kind

CANARY = "Canary^Zwölfter"
CANARY_ID = "ID-CANARY-77"
CANARY_DATE = "19121212"


def slices(count: int = 8, side: int = 64) -> NDArray[np.uint8]:
    """Slices of which every second holds a lesion, so that no two are alike."""
    return np.stack([toy.lesion_slice(n, lesion=n % 2 == 0, side=side) for n in range(count)])


def plans(
    images: NDArray[np.uint8], *, scale: Scale = "exact", study: str = "study"
) -> list[SeriesPlan]:
    """Plans of a patient whose name, number and birthday must show up nowhere."""
    identity = Identity(CANARY, CANARY_ID, CANARY_DATE)
    return plan_study(images, study=study, identity=identity, scale=scale)


def write(
    folder: Path,
    images: NDArray[np.uint8],
    *,
    kind: Kind = "classic",
    variant: str = "plain",
    scale: Scale = "exact",
    syntax: str = "uncompressed",
) -> Path:
    """Write a study."""
    write_study(
        plans(images, scale=scale, study=variant), folder, kind=kind, variant=variant, syntax=syntax
    )
    return folder


def select(folder: Path, *, fill: bool = False) -> Chosen:
    """Choose the series of the one study in a folder."""
    (study,) = collect(discover([folder], studies=True).studies).studies
    return choose(study, load_rules(), fill=fill)


def read(folder: Path, *, fill: bool = False, window: WindowRule = "auto") -> Study:
    """Read the one study in a folder."""
    return assemble(select(folder, fill=fill), window=window)
