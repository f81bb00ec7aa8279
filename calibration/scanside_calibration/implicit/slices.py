"""The slices of an implicit calibration: chosen and checked as ``scanside calibrate`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scanside.enginematch import IMPLICIT
from scanside.errors import UsageError
from scanside.preprocess import CHANNELS, SIDE
from scanside_calibration.material import SLICES, gather_ranges
from scanside_calibration.parts import divide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.bundle import Bundle
    from scanside.evaluation.dataset import Dataset
    from scanside_calibration.bench import Stage

__all__ = ["prepare"]

_SEED = 0
"""As `scanside calibrate` has it unless asked otherwise: the same slices."""


def prepare(
    bundle: Bundle,
    dataset: Dataset,
    split: Path | None,
    file: Path,
    *,
    stage: Stage,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Choose, check and write the slices that the calibrator gives to TensorRT.

    Parameters
    ----------
    bundle
        Holds the FP32 models, and INT8 ones: what the engine is verified by.
    dataset
        The labelled slices.
    split
        The split that the models were trained with; none to have one drawn.
    file
        Where to write them, as a NumPy file: uint8 ``[N, 256, 256, 3]``.
    stage
        Shows progress.
    say
        Takes a line for the user.

    Returns
    -------
    dict
        What the ranges come from, for the engine's key.

    Raises
    ------
    UsageError
        If the bundle lacks FP32, or INT8 with its tolerances.
    InputError
        If the slices are not accepted: too few, of one patient, not real.
    """
    lacking = [name for name in ("fp32", "int8") if name not in bundle.manifest.precisions]
    if lacking:
        raise UsageError(
            f"{bundle.label} holds no {' and no '.join(lacking)}",
            accepted="a bundle with fp32, which is calibrated, and int8, by whose guard and"
            " tolerances the engine is verified",
            remedy="make one with scanside calibrate, without --drop",
        )
    material = gather_ranges(
        dataset, divide(dataset, split, _SEED), count=SLICES, seed=_SEED, stage=stage
    )
    held = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(len(material), SIDE, SIDE, len(CHANNELS))
    )
    for number, image in enumerate(material.batches(1)):
        held[number] = image[0]
    held.flush()
    entry = bundle.manifest.models["classifier"]["int8"].calibration
    if entry is not None and entry.images_sha256 != material.images_sha256:
        say(
            f"the bundle's INT8 models were calibrated with other slices"
            f" ({entry.images_sha256[:12]}, not {material.images_sha256[:12]})"
        )
    return {
        IMPLICIT: material.images_sha256,
        "calibration_slices": str(len(material)),
        "calibration_patients": str(len(material.patients)),
        "calibration_split_sha256": material.split_sha256 or "none",
    }
