"""Golden slices: the phantoms with which a bundle is verified on every device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.contract import Tolerance
from scanside.errors import InputError
from scanside.evaluation.dataset import index_dataset, load_image
from scanside.gate import Route, decide, route
from scanside.golden import GoldenSlices, encode_golden
from scanside.preprocess import preprocess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.contract import Thresholds

__all__ = [
    "FP32_TOLERANCE",
    "SLICES",
    "Candidates",
    "Outputs",
    "choose",
    "encode",
    "outputs_of",
    "read_slices",
]

SLICES: Final = 6
"""Golden slices of a bundle: enough for every mixture of truth and route, and `verify` is done
in seconds on the smallest board."""

CANDIDATES: Final = 120
"""Most slices that goldens are chosen from: about a minute of ResNet-50 and U-Net on a CPU."""

MARGINS: Final = (1.0, 0.5, 0.2)
"""Logits between a golden slice's probability and either threshold, at the least: the largest of
these that gives enough slices. Quantisation moves a logit by a few tenths, and a golden decision
must not hang on that; FP32 on another device moves it by hundredths. Among the clear slices the
ones nearest to the gate are taken: saturated outputs hide errors."""

GOLDEN_PX: Final = 400
"""Pixels of a golden mask, at the least, where there is one: a pixel on the threshold may fall
on either side, and here that costs 0.001 of Dice."""

OUTLINED: Final = 2
"""Golden slices, at the least, whose tumour both models find: without a mask's outline the
segmenter's output is zero nearly everywhere and shows no error."""

FP32_TOLERANCE: Final = Tolerance(
    tumor_probability=5e-3, mask_probability=1e-2, mask_pixels=0.999, mask_dice=0.995
)
"""How far any device may be from the golden outputs in FP32. Measured with models of the default
bundle's size on phantoms: the largest error of a probability, the share of the worst slice's
pixels within 0.01, the worst Dice.

====================================  ===========  =======  ======
what differs                          probability  pixels   Dice
====================================  ===========  =======  ======
ONNX Runtime unoptimised, 1.20, 1.32  4e-7         1.00000  1.0000
TF32, as GPUs compute float32         3e-3         0.99998  0.9977
red and blue exchanged                1e-1         0.974    0.00
flipped or transposed                 1e-1         0.91     0.18
every pixel one grey level off        1e-2         0.986    0.96
moved by one pixel                    6e-2         0.958    0.77
scaled to 0..1                        8e-1         0.92     0.00
scaled by 127.5 in place of 128       5e-3         0.9983   0.9979
====================================  ===========  =======  ======
"""

_STEP: Final = 2.0**-14
"""Golden mask probabilities are multiples of it: a 300th of the tolerance, and the file has half
of the size, because the noise of the background compresses badly."""


class Candidates(NamedTuple):
    """Slices to choose from.

    Attributes
    ----------
    images
        uint8 ``[N, 256, 256, 3]``, ready for the models.
    positive
        bool ``[N]``: whether there is tumour in the slice.
    names
        What the slices are called.
    sha256
        Hash of the dataset that they come from.
    """

    images: NDArray[np.uint8]
    positive: NDArray[np.bool_]
    names: tuple[str, ...]
    sha256: str


class Outputs(NamedTuple):
    """What the FP32 models make of slices, the segmenter run on each.

    Attributes
    ----------
    tumor_probability
        float32 ``[N, 1]``.
    mask_probability
        float32 ``[N, 256, 256]``.
    """

    tumor_probability: NDArray[np.float32]
    mask_probability: NDArray[np.float32]


def read_slices(folder: Path, limit: int) -> Candidates:
    """Read slices of a labelled dataset, evenly spread over it.

    Parameters
    ----------
    folder
        A dataset in the layout of the LGG dataset.
    limit
        How many slices at most.

    Raises
    ------
    InputError
        If the dataset is not accepted: among other reasons, if it holds one class only.
    """
    dataset = index_dataset(folder)
    count = min(limit, len(dataset.slices))
    chosen = [
        dataset.slices[at]
        for at in np.linspace(0, len(dataset.slices) - 1, count).round().astype(int)
    ]
    return Candidates(
        images=np.stack([preprocess(load_image(item))[0] for item in chosen]),
        positive=np.array([item.positive for item in chosen]),
        names=tuple(item.image.name for item in chosen),
        sha256=dataset.sha256,
    )


def outputs_of(
    images: NDArray[np.uint8],
    classify: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    segment: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> Outputs:
    """Run both models on slices one by one, as `verify` does.

    Parameters
    ----------
    images
        uint8 ``[N, 256, 256, 3]``.
    classify, segment
        The models: uint8 ``[1, 256, 256, 3]`` to float32 ``[1, 1]`` and ``[1, 256, 256]``.
    """
    return Outputs(
        np.concatenate([classify(image[np.newaxis]) for image in images]),
        np.concatenate([segment(image[np.newaxis]) for image in images]),
    )


def choose(positive: NDArray[np.bool_], outputs: Outputs, thresholds: Thresholds) -> list[int]:
    """Choose the golden slices: both classes, both routes, decisions that are not close.

    Parameters
    ----------
    positive
        bool ``[N]``: whether there is tumour in each slice.
    outputs
        What the FP32 models make of them.
    thresholds
        The thresholds of the bundle.

    Returns
    -------
    list of int
        `SLICES` indices, ascending.

    Raises
    ------
    InputError
        If there are not enough clear slices, of one class, or on one side of the gate.
    """
    probability = outputs.tumor_probability[:, 0].astype(np.float64)
    passed = probability >= thresholds.gate
    for margin in MARGINS:
        queues = _queues(positive, outputs, thresholds, margin)
        chosen = _in_turn(queues)
        enough = len(chosen) == SLICES and len(queues[0]) >= OUTLINED
        if enough and _mixed(positive[chosen]) and _mixed(passed[chosen]):
            return sorted(int(at) for at in chosen)
    raise InputError(
        f"no {SLICES} golden slices of both classes on both sides of the gate: of"
        f" {len(positive)} slices ({int(positive.sum())} with tumour),"
        f" {int(passed.sum())} pass the gate {thresholds.gate:g}; clear ones:"
        f" {len(queues[0])} with tumour and {len(queues[3])} without that pass,"
        f" {len(queues[2])} with tumour and {len(queues[1])} without that do not",
        accepted=f"slices at least {MARGINS[-1]:g} logits away from both thresholds, whose masks"
        f" are empty or have {GOLDEN_PX} pixels, {OUTLINED} of them with an outlined tumour",
        remedy="give --golden a folder with more phantoms (scanside data phantom --patients),"
        " or train with phantoms so that the models know them",
    )


def _queues(
    positive: NDArray[np.bool_], outputs: Outputs, thresholds: Thresholds, margin: float
) -> list[list[np.intp]]:
    """Sort the clear slices into kinds, each from the gate outwards."""
    probability = outputs.tumor_probability[:, 0].astype(np.float64)
    clear = _clear(outputs, thresholds, margin)
    passed = probability >= thresholds.gate
    outlined = (outputs.mask_probability >= thresholds.mask).any(axis=(1, 2))
    distance = np.abs(_logit(probability) - _logit(np.float64(thresholds.gate)))
    # Agreement first, so that six slices of a good model hold all that matters.
    kinds = (
        clear & positive & passed & outlined,
        clear & ~positive & ~passed,
        clear & positive & ~passed,
        clear & ~positive & passed,
    )
    return [sorted(np.flatnonzero(kind), key=distance.__getitem__) for kind in kinds]


def encode(images: NDArray[np.uint8], outputs: Outputs, thresholds: Thresholds) -> bytes:
    """Return ``golden.npz``: slices, outputs, thresholds and decisions.

    Parameters
    ----------
    images
        uint8 ``[N, 256, 256, 3]``.
    outputs
        What the FP32 models make of them.
    thresholds
        The thresholds of the bundle.

    Returns
    -------
    bytes
        The same for the same arguments: numpy dates the members of the archive 1980. Mask
        probabilities are rounded to 2**-14.
    """
    routes, tumors = [], []
    for value, plane in zip(outputs.tumor_probability[:, 0], outputs.mask_probability, strict=True):
        way = route(float(value), thresholds)
        area = int((plane >= thresholds.mask).sum()) if way is Route.SEGMENT else None
        routes.append(way.value)
        tumor = decide(float(value), thresholds, area).tumor
        tumors.append("unknown" if tumor is None else str(tumor).lower())
    planes = np.round(outputs.mask_probability / _STEP) * _STEP
    # A pixel never changes its side of the threshold.
    moved = (planes >= thresholds.mask) != (outputs.mask_probability >= thresholds.mask)
    planes[moved] = outputs.mask_probability[moved]
    return encode_golden(
        GoldenSlices(
            images=images,
            tumor_probability=outputs.tumor_probability,
            mask_probability=planes.astype(np.float32),
            gate=thresholds.gate,
            decision=thresholds.decision,
            mask=thresholds.mask,
            route=tuple(routes),
            tumor=tuple(tumors),
        )
    )


def _clear(outputs: Outputs, thresholds: Thresholds, margin: float) -> NDArray[np.bool_]:
    """Tell which slices have decisions that a small difference can't turn."""
    logits = _logit(outputs.tumor_probability[:, 0].astype(np.float64))
    clear = np.ones(len(logits), bool)
    for threshold in (thresholds.gate, thresholds.decision):
        clear &= np.abs(logits - _logit(np.float64(threshold))) >= margin
    area = (outputs.mask_probability >= thresholds.mask).sum(axis=(1, 2))
    highest = outputs.mask_probability.max(axis=(1, 2)).astype(np.float64)
    empty = _logit(highest) <= _logit(np.float64(thresholds.mask)) - margin
    finite = np.isfinite(logits) & np.isfinite(outputs.mask_probability).all(axis=(1, 2))
    return np.asarray(clear & finite & (empty | (area >= GOLDEN_PX)))


def _in_turn(queues: list[list[np.intp]]) -> list[np.intp]:
    """Take from each queue in turn until there are enough."""
    longest = max(map(len, queues))
    turns = [queue[at] for at in range(longest) for queue in queues if at < len(queue)]
    return turns[:SLICES]


def _mixed(values: NDArray[np.bool_]) -> bool:
    return bool(values.any() and not values.all())


def _logit(probability: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Return the log odds; the ends of 0..1 are taken as a millionth away from them."""
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))
