"""The calibration set: real slices of many patients, chosen the same way on every machine."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.errors import InputError, UsageError
from scanside.evaluation.slices import load_image
from scanside.evaluation.splits import check_split, read_split
from scanside.pipeline import prepare
from scanside_calibration.genuine import look_at, refuse_artificial, refuse_phantoms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.evaluation.dataset import Dataset, DatasetSlice
    from scanside_calibration.bench import Stage
    from scanside_calibration.parts import Parts

__all__ = [
    "MIN_PATIENTS",
    "MIN_SLICES",
    "SLICES",
    "CalibrationSet",
    "choose",
    "gather",
    "gather_ranges",
]

MIN_SLICES: Final = 32
"""Fewer distinct slices are refused: their extremes say little about the next slice's."""

MIN_PATIENTS: Final = 2
"""Slices of one patient are refused: grey levels differ between patients, hardly within one."""

SLICES: Final = 300
"""How many are chosen unless asked otherwise: several of each patient of a dataset of this kind.

References
----------
NVIDIA TensorRT Developer Guide, "INT8 calibration": about 500 images suffice for classification
networks on ImageNet, a thousand classes against two here.
"""

POSITIVE: Final = 0.5
"""Share of slices with tumour. A third of a dataset's are; the segmenter sees little else."""


@dataclass(frozen=True)
class CalibrationSet:
    """Slices to calibrate with. They are decoded when they are needed, never all at once.

    Attributes
    ----------
    slices
        The chosen slices, by patient, then number.
    digests
        SHA-256 of each prepared image.
    images_sha256
        Hash over the prepared images in their order.
    dataset_sha256
        The dataset that they are of.
    split_sha256
        Hash of the split file whose training part they are of; none without a split.
    """

    slices: tuple[DatasetSlice, ...]
    digests: tuple[str, ...]
    images_sha256: str
    dataset_sha256: str
    split_sha256: str | None

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.slices)

    @property
    def patients(self) -> tuple[str, ...]:
        """Whose slices they are, sorted."""
        return tuple(sorted({item.patient for item in self.slices}))

    @property
    def positive(self) -> int:
        """Number of slices with tumour."""
        return sum(item.positive for item in self.slices)

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the prepared images, `size` at a time, the last batch what is left.

        Parameters
        ----------
        size
            At least 1.

        Yields
        ------
        ndarray of uint8
            ``[N, 256, 256, 3]``.

        Raises
        ------
        UsageError
            If the size is none.
        InputError
            If a file is no longer what was hashed.
        """
        if size < 1:
            raise UsageError(f"batches of {size} slices", accepted="1 and more")
        for start in range(0, len(self.slices), size):
            chosen = slice(start, start + size)
            pairs = zip(self.slices[chosen], self.digests[chosen], strict=True)
            yield np.stack([_unchanged(item, digest) for item, digest in pairs])


def gather(
    dataset: Dataset,
    split: Path | None,
    *,
    count: int = SLICES,
    positive: float = POSITIVE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationSet:
    """Choose and check the calibration set.

    Parameters
    ----------
    dataset
        The indexed dataset.
    split
        Split file of that dataset: only its training patients are calibrated with, so that the
        guard's validation patients are new to the model. Without one all patients are taken.
    count
        How many slices; fewer where there are no more.
    positive
        Share of slices with tumour, 0 to 1, as far as there are so many.
    seed
        Another seed chooses others.
    progress
        Called after each slice with the number decoded and the number chosen.

    Returns
    -------
    CalibrationSet
        Checked.

    Raises
    ------
    UsageError
        If `count` or `positive` makes no sense.
    InputError
        If the split is not one of the dataset, if there are fewer than 32 different slices or
        only one patient, or if the slices are phantoms, noise, drawings or copies.
    """
    patients, split_sha256 = _training_patients(dataset, split)
    refuse_phantoms(patients)
    chosen = choose(dataset.of(patients), count=count, positive=positive, seed=seed)
    _refuse_few(chosen)
    digests, looks = [], []
    total = hashlib.sha256()
    for done, item in enumerate(chosen, 1):
        image = _prepared(item)
        total.update(image.data)
        digests.append(hashlib.sha256(image.data).hexdigest())
        looks.append(look_at(image))
        if progress is not None:
            progress(done, len(chosen))
    if len(set(digests)) < MIN_SLICES:
        raise _too_few(f"{len(set(digests))} different slices (of {len(digests)})")
    refuse_artificial([item.patient for item in chosen], looks)
    return CalibrationSet(chosen, tuple(digests), total.hexdigest(), dataset.sha256, split_sha256)


def gather_ranges(
    dataset: Dataset, parts: Parts, *, count: int, seed: int, stage: Stage
) -> CalibrationSet:
    """Gather the slices that give ranges: of the training patients that none are compared on.

    Parameters
    ----------
    dataset
        The indexed dataset.
    parts
        Its patients, divided.
    count, seed
        As for `gather`, with its errors.
    stage
        Shows progress.
    """
    own = dataset._replace(slices=dataset.of(parts.ranges))
    with stage(min(count, len(own.slices)), "calibration slices checked") as update:
        found = gather(own, None, count=count, seed=seed, progress=lambda done, _: update(done))
    return replace(found, split_sha256=parts.split_sha256)


def choose(
    slices: Sequence[DatasetSlice], *, count: int, positive: float, seed: int
) -> tuple[DatasetSlice, ...]:
    """Choose slices of both classes, spread over all patients and along each patient's axis.

    Parameters
    ----------
    slices
        What there is to choose from.
    count
        How many; all where there are no more.
    positive
        Share of slices with tumour, as far as there are so many.
    seed
        Another seed chooses others. It is used with SHA-256, so that the choice is the same on
        every machine.

    Returns
    -------
    tuple of DatasetSlice
        In the order of `slices`.

    Raises
    ------
    UsageError
        If `count` is below 32 or `positive` is no share.
    """
    if count < MIN_SLICES or not 0 <= positive <= 1:
        raise UsageError(
            f"{count} calibration slices with a share of {positive:g} positive were asked for",
            accepted=f"{MIN_SLICES} slices or more, and a share of 0 to 1",
        )
    with_tumor = [item for item in slices if item.positive]
    without = [item for item in slices if not item.positive]
    wanted = min(round(count * positive), len(with_tumor))
    rest = min(count - wanted, len(without))
    wanted = min(count - rest, len(with_tumor))
    taken = {*_spread(with_tumor, wanted, f"{seed}/positive")}
    taken |= {*_spread(without, rest, f"{seed}/negative")}
    return tuple(item for item in slices if item in taken)


def _spread(slices: Sequence[DatasetSlice], count: int, draw: str) -> Iterator[DatasetSlice]:
    """Deal a number of slices out over the patients, and yield each one's evenly along the axis."""
    held: defaultdict[str, list[DatasetSlice]] = defaultdict(list)
    for item in slices:
        held[item.patient].append(item)
    order = sorted(held, key=lambda patient: _number(f"{draw}/{patient}"))
    quota = dict.fromkeys(order, 0)
    while count > 0:
        for patient in order:
            if count > 0 and quota[patient] < len(held[patient]):
                quota[patient] += 1
                count -= 1
    for patient, share in quota.items():
        # The first lies anywhere in the first of `share` equal stretches, the others follow.
        start = _number(f"{draw}/{patient}/start") / 2**64
        for at in range(share):
            yield held[patient][int((at + start) * len(held[patient]) / share)]


def _number(text: str) -> int:
    """Return a number of 64 bits that a text draws."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _training_patients(dataset: Dataset, path: Path | None) -> tuple[tuple[str, ...], str | None]:
    if path is None:
        return dataset.patients, None
    split = read_split(path)
    check_split(split, dataset)
    return split.train, hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_few(chosen: Sequence[DatasetSlice]) -> None:
    if len(chosen) < MIN_SLICES:
        raise _too_few(f"{len(chosen)} slices")
    patients = {item.patient for item in chosen}
    if len(patients) < MIN_PATIENTS:
        raise _too_few(f"slices of one patient only ({', '.join(patients)})")


def _too_few(what: str) -> InputError:
    return InputError(
        f"there are {what} to calibrate with",
        accepted=f"{MIN_SLICES} different slices or more, of {MIN_PATIENTS} patients or more",
        remedy="give a dataset with more training patients; some hundred slices are usual",
    )


def _prepared(item: DatasetSlice) -> NDArray[np.uint8]:
    return prepare(load_image(item)).image


def _unchanged(item: DatasetSlice, digest: str) -> NDArray[np.uint8]:
    image = _prepared(item)
    if hashlib.sha256(image.data).hexdigest() != digest:
        raise InputError(
            f"{item.image} was changed while the calibration ran",
            remedy="calibrate again when the dataset is at rest",
        )
    return image
