"""Patient-level splits: who is trained on, who is validated on, who is measured on.

A split is by patient, never by slice: neighbouring slices of one patient look alike, and a
slice-level split measures memory. It is stratified, so that each part has the same mix of
large and small tumours, and it is drawn with SHA-256 in place of a random generator: the same
seed gives the same split on every machine and with every version of NumPy.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from scanside.errors import InputError, UsageError
from scanside.writers.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scanside.evaluation.dataset import Dataset

__all__ = [
    "SPLIT_SCHEMA",
    "Split",
    "check_split",
    "make_folds",
    "make_split",
    "read_split",
    "write_split",
]

SPLIT_SCHEMA: Final = "scanside.split/1"

_PARTS: Final = ("train", "validation", "test")


class Split(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The patients of each part.

    Attributes
    ----------
    dataset_sha256
        `Dataset.sha256` of the dataset that was split.
    seed
        What the split was drawn with.
    train, validation, test
        Patients, sorted. `test` may be empty.
    """

    schema: Literal["scanside.split/1"] = SPLIT_SCHEMA
    dataset_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def make_split(
    dataset: Dataset, *, seed: int, validation: float = 0.15, test: float = 0.15
) -> Split:
    """Split a dataset's patients into three parts with the same mix of tumours.

    Parameters
    ----------
    dataset
        The indexed dataset.
    seed
        Another seed gives another split.
    validation, test
        Shares of the patients, rounded to whole patients, at least one. `test` may be 0.

    Returns
    -------
    Split
        Checked with `check_split`.

    Raises
    ------
    UsageError
        If the shares are no shares or leave nothing to train on.
    InputError
        If a part would have no positive or no negative slice.
    """
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise UsageError(
            f"validation {validation:g} and test {test:g} were asked for",
            accepted="0 < validation < 1, 0 <= test < 1, and together less than 1",
        )
    patients = _by_tumor(dataset)
    tests = _systematic(patients, _whole(test, len(patients)), f"{seed}/test")
    rest = [patient for patient in patients if patient not in tests]
    validations = _systematic(rest, _whole(validation, len(patients)), f"{seed}/validation")
    return _checked(dataset, seed, validations, tests)


def make_folds(dataset: Dataset, *, seed: int, folds: int) -> tuple[Split, ...]:
    """Split a dataset's patients for cross-validation.

    Parameters
    ----------
    dataset
        The indexed dataset.
    seed
        Another seed gives other folds.
    folds
        How many, from 2 to the number of patients.

    Returns
    -------
    tuple of Split
        Each patient is in `validation` once and in `train` otherwise; `test` is empty.

    Raises
    ------
    UsageError
        If there cannot be that many folds.
    InputError
        If a part would have no positive or no negative slice.
    """
    patients = _by_tumor(dataset)
    if not 2 <= folds <= len(patients):  # noqa: PLR2004
        raise UsageError(f"{folds} folds of {len(patients)} patients", accepted="2 to one each")
    # Each block of neighbours by tumour is dealt out one patient to a fold, in drawn order.
    members: list[set[str]] = [set() for _ in range(folds)]
    for start in range(0, len(patients), folds):
        block = patients[start : start + folds]
        draws = {fold: _draw(f"{seed}/{start}", str(fold)) for fold in range(folds)}
        order = sorted(draws, key=draws.__getitem__)
        for fold, patient in zip(order, block, strict=False):
            members[fold].add(patient)
    return tuple(_checked(dataset, seed, fold, set()) for fold in members)


def write_split(path: Path, split: Split) -> None:
    """Write a split as JSON, whole or not at all; `OutputError` if it cannot be written."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(split), indent=2) + b"\n")


def read_split(path: Path) -> Split:
    """Read a split; `check_split` says whether it is one of a given dataset.

    Parameters
    ----------
    path
        What `write_split` wrote.

    Raises
    ------
    InputError
        If the file cannot be read, is not of the schema, or has a patient in two parts.
    """
    try:
        split = msgspec.json.decode(path.read_bytes(), type=Split)
    except OSError as error:
        raise InputError(f"the split {path} could not be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InputError(
            f"the split {path} is not accepted: {error}",
            accepted=f"JSON of the schema {SPLIT_SCHEMA}",
            remedy="write it with: scanside data split FOLDER --output FILE",
        ) from error
    _refuse_overlap(split)
    return split


def check_split(split: Split, dataset: Dataset) -> None:
    """Refuse a split that is not one of this dataset, or that measures nothing.

    Parameters
    ----------
    split
        The split.
    dataset
        The dataset that it is to be used with.

    Raises
    ------
    InputError
        If the split was made for other data, names a patient twice or one that is not there,
        or has a part without positive or without negative slices (an empty `test` is none).
    """
    _refuse_overlap(split)
    known = frozenset(dataset.patients)
    unknown = [name for part in _PARTS for name in getattr(split, part) if name not in known]
    if unknown:
        raise InputError(
            f"the split names {_listed(unknown)}, not among the dataset's {len(known)} patients",
            remedy=f"use the dataset that it was made for, or split {dataset.root} anew",
        )
    if split.dataset_sha256 != dataset.sha256:
        raise InputError(
            f"the split was made for the dataset {split.dataset_sha256[:12]}...,"
            f" and {dataset.root} is {dataset.sha256[:12]}...",
            accepted="a split of the very same slices and masks",
            remedy=f"split {dataset.root} anew: a figure is comparable on the same data only",
        )
    for part in _PARTS:
        patients: tuple[str, ...] = getattr(split, part)
        if part == "test" and not patients:
            continue
        slices = dataset.of(patients)
        positive = sum(item.positive for item in slices)
        if positive in {0, len(slices)}:
            raise InputError(
                f"the split's {part} part ({len(patients)} patients, {len(slices)} slices) has"
                f" {positive} positive and {len(slices) - positive} negative slices",
                accepted="parts with slices of both classes",
                remedy="give the part a larger share, or use more patients",
            )


def _checked(dataset: Dataset, seed: int, validation: set[str], test: set[str]) -> Split:
    split = Split(
        dataset_sha256=dataset.sha256,
        seed=seed,
        train=tuple(p for p in dataset.patients if p not in validation | test),
        validation=tuple(sorted(validation)),
        test=tuple(sorted(test)),
    )
    check_split(split, dataset)
    return split


def _by_tumor(dataset: Dataset) -> list[str]:
    """Order patients by tumour: the mean rank of volume and of the share of positive slices."""
    volume: dict[str, int] = dict.fromkeys(dataset.patients, 0)
    positive, count = dict(volume), dict(volume)
    for item in dataset.slices:
        volume[item.patient] += item.tumor_px
        positive[item.patient] += item.positive
        count[item.patient] += 1
    share = {patient: positive[patient] / count[patient] for patient in count}
    by_volume, by_share = _ranks(volume), _ranks(share)
    return sorted(volume, key=lambda name: (by_volume[name] + by_share[name], name))


def _ranks(values: Mapping[str, float]) -> dict[str, int]:
    """Return twice the rank of each name by value; equal values share their mean rank."""
    ordered = sorted(values.values())
    return {
        name: bisect_left(ordered, value) + bisect_right(ordered, value)
        for name, value in values.items()
    }


def _systematic(ordered: Sequence[str], count: int, key: str) -> set[str]:
    """Draw one patient from each of `count` strata of neighbours, nearly equal in size."""
    edges = [at * len(ordered) // max(count, 1) for at in range(count + 1)]
    strata = [ordered[low:high] for low, high in pairwise(edges)]
    return {min(stratum, key=lambda name: _draw(key, name)) for stratum in strata if stratum}


def _whole(share: float, patients: int) -> int:
    return max(1, round(share * patients)) if share else 0


def _draw(key: str, name: str) -> str:
    return hashlib.sha256(f"{key}/{name}".encode()).hexdigest()


def _refuse_overlap(split: Split) -> None:
    seen: dict[str, str] = {}
    for part in _PARTS:
        for patient in getattr(split, part):
            if patient in seen:
                raise InputError(
                    f"the split has the patient {patient} in {seen[patient]} and in {part}",
                    accepted="each patient once",
                    remedy="take it out of one of them, or make the split anew",
                )
            seen[patient] = part


def _listed(names: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
