"""Buffers for the slices that are under way, each used by one caller at a time."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scanside.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from scanside.backends.tensorrt.buffers import Buffer
    from scanside.backends.tensorrt.run import Run
    from scanside.contract import Role

__all__ = ["Slot", "Slots"]


@dataclass(eq=False)
class Slot:
    """An image's buffer, and both models on it.

    Attributes
    ----------
    image
        The buffer of images.
    runs
        Both models, each with the buffer of its output.
    owner
        Frees all of it.
    held
        Number of images at the buffer's start that the device has seen.
    thread
        Who used it last.
    """

    image: Buffer
    runs: Mapping[Role, Run]
    owner: ExitStack
    held: int = 0
    thread: int | None = None

    def take_over(self, images: NDArray[np.uint8]) -> bool:
        """Let the buffer hold these images; return whether the device has to be sent them.

        A positive slice goes to the segmenter right after the classifier, and is there already.
        That is found by comparing every byte: it costs the host what copying would, and a caller
        who has changed the array in place gets what is in it now.

        Parameters
        ----------
        images
            uint8 ``[N, 256, 256, 3]``, C-contiguous, not more than the buffer holds.
        """
        count = len(images)
        room = self.image.host[:count]
        if self.held >= count and np.array_equal(_words(room), _words(images)):
            return False
        # Until they have got there, the device has seen nothing that can be relied on.
        self.held = 0
        np.copyto(room, images)
        return True


def _words(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the same bytes as fewer numbers: comparing makes an eighth of the intermediate."""
    return images.reshape(-1).view(np.uint64)


class Slots:
    """Hands each caller a slot of its own; more callers than slots wait.

    Parameters
    ----------
    slots
        At least one.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._all = len(slots)
        self._free = list(slots)
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[Slot]:
        """Lend a slot; the one that this thread had last, if it is free: its image is there.

        Raises
        ------
        BackendError
            If they were taken away.
        """
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._free or not self._all)
            if not self._free:
                raise BackendError("the backend was closed", remedy="open another pipeline")
            slot = next((slot for slot in self._free if slot.thread == me), self._free[0])
            self._free.remove(slot)
        slot.thread = me
        try:
            yield slot
        finally:
            with self._changed:
                self._free.append(slot)
                self._changed.notify()

    def take_all(self) -> list[Slot]:
        """Wait until nobody uses a slot, and take them all away."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) == self._all)
            taken, self._free, self._all = self._free, [], 0
            self._changed.notify_all()
            return taken
