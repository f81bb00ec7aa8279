"""Which slices a report shows, and how: the best, the median and the worst ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2

from scanside.errors import InternalError
from scanside.evaluation.metrics import dice
from scanside.preprocess import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.evaluation.dataset import DatasetSlice
    from scanside_training.measure import Measured

__all__ = ["Shown", "choose", "picture"]

_EACH: Final = 4
_SHOWN_SIDE: Final = 512
_TRUE_BGR: Final = (80, 200, 80)
_PREDICTED_BGR: Final = (40, 130, 255)


class Shown(NamedTuple):
    """A slice that is worth a look: in which group, and its Dice without a gate."""

    group: str
    item: DatasetSlice
    dice: float
    probability: float


def choose(measured: Sequence[Measured]) -> tuple[Shown, ...]:
    """Choose the best, median and worst positive slices by Dice, one a patient in each group.

    Among slices of equal Dice (those with none, mostly) the largest lesion comes first.
    """
    ranked = sorted(
        (
            Shown("", each.item, float(dice(*each.overlap)), each.probability)
            for each in measured
            if each.item.positive
        ),
        key=lambda shown: (shown.dice, -shown.item.tumor_px),
    )
    middle = sorted(range(len(ranked)), key=lambda at: abs(at - (len(ranked) - 1) / 2))
    return tuple(
        shown._replace(group=group)
        for group, order in (
            ("best", ranked[::-1]),
            ("median", [ranked[at] for at in middle]),
            ("worst", ranked),
        )
        for shown in _one_a_patient(order)
    )


def picture(
    image: NDArray[np.uint8], true: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> bytes:
    """Draw both outlines over the slice's FLAIR.

    Parameters
    ----------
    image
        uint8 ``[H, W, 3]``: pre-contrast, FLAIR, post-contrast.
    true, predicted
        uint8 ``[H, W]`` of 0 and 1: green and orange outlines.

    Returns
    -------
    bytes
        PNG.
    """
    factor = max(1, -(-_SHOWN_SIDE // max(true.shape)))
    size = (true.shape[1] * factor, true.shape[0] * factor)
    flair = cv2.resize(image[..., CHANNELS.index("FLAIR")], size, interpolation=cv2.INTER_LINEAR)
    drawn = cv2.cvtColor(flair, cv2.COLOR_GRAY2BGR)
    for mask, color in ((true, _TRUE_BGR), (predicted, _PREDICTED_BGR)):
        region = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, color, 2, cv2.LINE_AA)
    done, encoded = cv2.imencode(".png", drawn)
    if not done:
        raise InternalError(f"OpenCV did not encode a picture of the shape {drawn.shape}")
    return encoded.tobytes()


def _one_a_patient(order: Sequence[Shown]) -> list[Shown]:
    first: dict[str, Shown] = {}
    for shown in order:
        first.setdefault(shown.item.patient, shown)
    return list(first.values())[:_EACH]
