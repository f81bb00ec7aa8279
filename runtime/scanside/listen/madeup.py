"""A backend that computes nothing, for measuring the node around it.

Its results are made up, so that it is reached by no name: only a hidden option of the command line
takes it, with destinations on this computer alone, and the reports name it as what computed.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from scanside.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.contract import Precision
    from scanside.listen.config import ListenConfig

__all__ = ["MadeUpBackend", "check_loopback"]


class MadeUpBackend:
    """Finds the same square in every slice.

    Parameters
    ----------
    precision
        What it says it is.
    """

    name: Final[Literal["made-up"]] = "made-up"
    lanes: Final = 1
    micro_batch: Final = 1

    def __init__(self, precision: Precision) -> None:
        self.precision: Final = precision

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return 1 for every slice: float32 ``[N, 1]``."""
        return np.ones((len(images), 1), np.float32)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return a square in the middle: float32 ``[N, 256, 256]``."""
        plane = np.zeros(images.shape[:3], np.float32)
        plane[:, 96:160, 96:160] = 1.0
        return plane

    def describe(self) -> dict[str, str]:
        """Say that nothing computes."""
        return {"computes": "nothing: every result is made up"}

    def close(self) -> None:
        """Do nothing."""


def check_loopback(config: ListenConfig) -> None:
    """Refuse a configuration that lets made-up results leave this computer.

    Raises
    ------
    UsageError
        If a destination is anywhere else.
    """
    for destination in config.destinations:
        try:
            inside = ipaddress.ip_address(destination.address).is_loopback
        except ValueError:  # a name: where it leads to may change
            inside = False
        if not inside:
            raise UsageError(
                f"made-up results for {destination.name} at {destination.address}",
                accepted="destinations on the loopback address, as in 127.0.0.1",
            )
