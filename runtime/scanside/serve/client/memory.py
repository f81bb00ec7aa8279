"""The client's side of shared memory: a sealed memfd of slots."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Any, Final

from scanside.serve.masks import mask_offset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Memory"]


class Memory:
    """Slots that are free or in flight.

    Parameters
    ----------
    slots, slot_bytes
        The layout; `slot_bytes` a multiple of 4096.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.descriptor: Final = os.memfd_create(
            "scanside-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        )
        os.posix_fallocate(self.descriptor, 0, slots * slot_bytes)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._memory: Final = memoryview(mmap.mmap(self.descriptor, slots * slot_bytes))
        self._slot_bytes: Final = slot_bytes
        self._free: Final = list(range(slots))

    def put(self, frame: NDArray[np.generic]) -> int | None:
        """Copy a frame into a free slot; none where there is none, or it does not fit."""
        needed = mask_offset(frame.nbytes) + frame.shape[0] * frame.shape[1]
        if not self._free or needed > self._slot_bytes:
            return None
        number = self._free.pop()
        source: Any = frame.data.cast("B")
        self.slot(number)[: frame.nbytes] = source
        return number

    def slot(self, number: int) -> memoryview:
        """Return a slot's bytes."""
        start = number * self._slot_bytes
        return self._memory[start : start + self._slot_bytes]

    def give_back(self, number: int) -> None:
        """Take a slot back once its request has been answered."""
        self._free.append(number)

    def close(self) -> None:
        """Close the descriptor; the mapping goes with the last view into it."""
        os.close(self.descriptor)
