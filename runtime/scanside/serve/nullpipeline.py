"""A pipeline that computes nothing: for measuring what the way to and from it costs.

Its results are made up. They say so: HELLO and every RESULT carry NULL_BACKEND, and the
backend's name is ``null``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.pipeline import Result
from scanside.postprocess import Region
from scanside.records import BoundingBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scanside.contract import Precision, Thresholds
    from scanside.pipeline import Prepared
    from scanside.preprocess import Window

__all__ = ["NULL", "NullPipeline"]

NULL: Final = "null"


class NullBackend(NamedTuple):
    """What stands where a backend would."""

    precision: Precision
    lanes: int = 1
    micro_batch: int = 1
    name: str = NULL

    def describe(self) -> dict[str, str]:
        """Return that nothing computes."""
        return {"computes": "nothing: every result is made up"}


class NullPipeline:
    """Answers every frame at once with a mask of its size.

    Parameters
    ----------
    precision, thresholds
        What HELLO shows.
    """

    fallback: Final = None
    reason: Final = None

    def __init__(self, precision: Precision, thresholds: Thresholds) -> None:
        self.backend: Final = NullBackend(precision)
        self.thresholds: Final = thresholds

    def analyse(
        self,
        pixels: NDArray[np.generic],
        *,
        window: Window | None = None,
        fill: bool = False,
        aspect: float = 1.0,
    ) -> Result:
        """Return the same result for every frame of a size."""
        del window, fill, aspect
        return _made_up(pixels.shape[0], pixels.shape[1])

    def analyse_prepared(self, slices: Sequence[Prepared]) -> list[Result]:
        """As `analyse`."""
        return [_made_up(held.geometry.height, held.geometry.width) for held in slices]

    def close(self) -> None:
        """Do nothing."""


@lru_cache(maxsize=4)
def _made_up(height: int, width: int) -> Result:
    box = BoundingBox(
        top=height // 4, left=width // 4, bottom=height - height // 4, right=width - width // 4
    )
    mask = np.zeros((height, width), np.uint8)
    mask[box.top : box.bottom, box.left : box.right] = 1
    mask.flags.writeable = False
    region = Region(mask, int(mask.sum()), 1, box)
    return Result("ok", None, 0.5, True, True, region, (), {})  # noqa: FBT003
