"""How masks travel: where in a slot, and as the lengths of their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.serve.wire import WireError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode_runs", "encode_runs", "mask_offset"]

_ALIGNMENT: Final = 64
"""Bytes; a cache line, so that frame and mask of a slot share none."""


def mask_offset(frame_bytes: int) -> int:
    """Return where in a slot the mask begins, after a frame of so many bytes."""
    return -(-frame_bytes // _ALIGNMENT) * _ALIGNMENT


def encode_runs(mask: NDArray[np.uint8]) -> bytes:
    """Return a mask as the lengths of its runs.

    Parameters
    ----------
    mask
        uint8 ``[H, W]``, 0 or 1.

    Returns
    -------
    bytes
        uint32 lengths by turns of 0 and of 1, in row order, the first one of 0.
    """
    flat = mask.reshape(-1)
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], starts, [flat.size]))
    lengths = np.diff(edges).astype("<u4")
    if flat[0]:
        lengths = np.concatenate((np.zeros(1, "<u4"), lengths))
    return lengths.tobytes()


def decode_runs(data: bytes | bytearray | memoryview, height: int, width: int) -> NDArray[np.uint8]:
    """Return the mask that `encode_runs` made lengths of.

    Raises
    ------
    WireError
        If the lengths are not those of a mask of this size.
    """
    if len(data) % 4:
        raise WireError(f"run lengths of {len(data)} bytes", accepted="whole uint32 numbers")
    lengths = np.frombuffer(data, "<u4").astype(np.int64)
    if lengths.sum() != height * width:
        raise WireError(
            f"runs of {lengths.sum()} pixels", accepted=f"{height} x {width} = {height * width}"
        )
    values = (np.arange(lengths.size) % 2).astype(np.uint8)
    return np.repeat(values, lengths).reshape(height, width)
