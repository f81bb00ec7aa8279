"""The state of a training run in one file, replaced whole after every epoch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

import msgspec
import numpy as np
from msgspec import Struct

from scanside.errors import InputError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Checkpoint", "Epoch", "read_checkpoint", "write_checkpoint"]

_HEADER: Final = "header"


class Epoch(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is logged about an epoch.

    Attributes
    ----------
    epoch, phase
        Numbers from 0.
    side
        Height and width of the slices in pixels.
    slices
        Slices trained on.
    seconds
        Wall time of its training steps.
    validation_seconds
        Wall time of validation, and of mining where there was any.
    wait_share
        Share of `seconds` that the steps waited for data.
    learning_rate
        At its end.
    loss
        Mean over its steps.
    validation
        Metrics of the averaged weights on the validation part.
    best
        Whether it is the best epoch so far.
    """

    epoch: int
    phase: int
    side: int
    slices: int
    seconds: float
    validation_seconds: float
    wait_share: float
    learning_rate: float
    loss: float
    validation: dict[str, float]
    best: bool


class Checkpoint(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run needs beside its arrays to go on.

    Attributes
    ----------
    identity
        Hash of everything that determines the result: configuration, dataset and split.
    history
        The epochs that are done. Sampling and augmentation are seeded by epoch, so that there
        is no other random state.
    """

    identity: str
    history: tuple[Epoch, ...]


def write_checkpoint(path: Path, checkpoint: Checkpoint, arrays: dict[str, NDArray[Any]]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written; the former one is kept.
    """
    header = np.frombuffer(msgspec.json.encode(checkpoint), np.uint8)
    # Streamed to the disk: at full width the state is half a gigabyte.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_HEADER: header, **arrays})
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{path} could not be written: {error.strerror or error}",
            remedy="make room on the disk, then go on by --resume",
        ) from error


def read_checkpoint(path: Path) -> tuple[Checkpoint, dict[str, NDArray[Any]]]:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If the file cannot be read or is not one of this version's checkpoints.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        checkpoint = msgspec.json.decode(arrays.pop(_HEADER).tobytes(), type=Checkpoint)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, msgspec.DecodeError) as error:
        raise InputError(
            f"the checkpoint {path} could not be read: {error}",
            remedy="train anew into another --output, without --resume",
        ) from error
    return checkpoint, arrays
