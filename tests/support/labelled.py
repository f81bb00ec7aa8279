"""A folder of labelled toy slices, with its split."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

import toy
from scanside.evaluation.dataset import Dataset, index_dataset
from scanside.evaluation.splits import make_split, write_split

if TYPE_CHECKING:
    from pathlib import Path


class Labelled(NamedTuple):
    """Toy slices of several patients.

    Attributes
    ----------
    folder, split
        Where they are, and the file of their split.
    dataset
        Their index.
    """

    folder: Path
    split: Path
    dataset: Dataset


def write(root: Path, *, patients: int = 6, slices: int = 12) -> Labelled:
    """Write toy slices, every other one with a lesion and its mask, and split them."""
    folder = root / "slices"
    for patient in range(patients):
        own = folder / f"TOY_{patient}"
        own.mkdir(parents=True)
        for number in range(slices):
            seed = slices * patient + number
            image = toy.lesion_slice(seed, lesion=number % 2 == 0)
            cv2.imwrite(f"{own / own.name}_{number}.png", image[..., ::-1])
            if number % 2 == 0:
                mask = cv2.blur(image[..., 1], (5, 5)) > 160
                cv2.imwrite(f"{own / own.name}_{number}_mask.png", mask.astype(np.uint8) * 255)
    dataset = index_dataset(folder)
    split = root / "split.json"
    write_split(split, make_split(dataset, seed=1, validation=0.2, test=0.0))
    return Labelled(folder, split, dataset)
