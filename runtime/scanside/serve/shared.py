"""The client's memory: a sealed memfd with slots for frames and masks.

Nothing is read from it but pixels: which slot, how large and whose turn it is are in the messages.

References
----------
Seals: https://man7.org/linux/man-pages/man2/fcntl.2.html, "File Sealing".
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Final

from scanside.errors import UsageError

if TYPE_CHECKING:
    from scanside.serve.limits import Limits
    from scanside.serve.wire import Attach

__all__ = ["Shared", "attach"]

_NEEDED: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
"""Whoever reads memory whose file is cut gets SIGBUS: it must not be possible."""

_PAGE: Final = 4096


class Shared:
    """Mapped slots.

    Parameters
    ----------
    descriptor
        The memfd, which this object owns. It stays open: a restart maps it again.
    slots, slot_bytes
        Its layout.
    """

    def __init__(self, descriptor: int, slots: int, slot_bytes: int) -> None:
        self.descriptor: Final = descriptor
        self.slots: Final = slots
        self.slot_bytes: Final = slot_bytes
        # Never closed by hand: it goes with the last array that looks into it.
        self._memory = memoryview(mmap.mmap(descriptor, slots * slot_bytes))

    def slot(self, number: int) -> memoryview:
        """Return the bytes of a slot."""
        start = number * self.slot_bytes
        return self._memory[start : start + self.slot_bytes]

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def attach(descriptor: int, layout: Attach, limits: Limits) -> Shared:
    """Map the memory of a client.

    Parameters
    ----------
    descriptor
        What came with ATTACH; owned by what is returned.
    layout
        What ATTACH says.
    limits
        The server's.

    Raises
    ------
    UsageError
        If it is not what the protocol asks for; the descriptor stays the caller's.
    """
    slots, slot_bytes = layout
    total = slots * slot_bytes
    if not (0 < slots <= limits.max_slots and 0 < total <= limits.max_shared_bytes):
        raise UsageError(
            f"{slots} slots of {slot_bytes} bytes",
            accepted=f"1 to {limits.max_slots} slots, {limits.max_shared_bytes} bytes in all",
        )
    if slot_bytes % _PAGE:
        raise UsageError(f"slots of {slot_bytes} bytes", accepted=f"multiples of {_PAGE}")
    _check_kind(descriptor)
    size = os.fstat(descriptor).st_size
    if size != total:
        raise UsageError(f"a memfd of {size} bytes", accepted=f"slots x slot_bytes = {total}")
    try:
        return Shared(descriptor, slots, slot_bytes)
    except OSError as error:
        raise UsageError(f"the memfd can't be mapped: {error.strerror}") from None


def _check_kind(descriptor: int) -> None:
    """Refuse anything but a memfd that can't be cut and can be written to."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        raise UsageError("the descriptor is no memfd", accepted="a sealed memfd") from None
    if seals & _NEEDED != _NEEDED:
        raise UsageError(
            f"a memfd with the seals {seals:#x}", accepted="F_SEAL_SHRINK and F_SEAL_GROW set"
        )
    if seals & fcntl.F_SEAL_WRITE:
        raise UsageError("a memfd that is sealed against writing", accepted="one for masks too")
    if os.fstatvfs(descriptor).f_bsize != mmap.PAGESIZE:
        raise UsageError("a memfd of huge pages", accepted="one of usual pages")
