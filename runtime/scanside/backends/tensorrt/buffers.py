"""Tensors in pinned host memory, and where the device reads or writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from contextlib import ExitStack

    from numpy.typing import DTypeLike, NDArray

    from scanside.backends.tensorrt.device import Device

__all__ = ["TRANSFERS", "Buffer", "Transfer", "make_buffer"]

Transfer = Literal["copied", "mapped"]
"""``copied``: to and from memory of the device's own. ``mapped``: the device uses the host's
memory where it lies, which on an integrated GPU is the same memory."""

TRANSFERS: tuple[Transfer, ...] = ("copied", "mapped")


class Buffer(Protocol):
    """A tensor on both sides; owner thread only, but for `host`.

    Attributes
    ----------
    host
        What the host writes or reads, while nothing that uses it is under way.
    address
        Where the device finds it.
    """

    host: NDArray[Any]
    address: int

    def upload(self, count: int, stream: Any) -> None:  # noqa: ANN401 - PyCUDA
        """Let the device see the first rows of `host`, in the order of the stream."""

    def download(self, count: int, stream: Any) -> None:  # noqa: ANN401 - PyCUDA
        """Let the host see the first rows of the device's, in the order of the stream."""


def make_buffer(
    cuda: Any,  # noqa: ANN401 - untyped
    device: Device,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    transfer: Transfer,
    owner: ExitStack,
) -> Buffer:
    """Allocate a tensor on both sides; owner thread only.

    Parameters
    ----------
    cuda
        The module ``pycuda.driver``.
    device
        The device.
    shape, dtype
        Of the tensor.
    transfer
        How it gets from one side to the other.
    owner
        Whose closing frees it.
    """
    flags = cuda.host_alloc_flags.DEVICEMAP if transfer == "mapped" else 0
    host = cuda.pagelocked_empty(shape, np.dtype(dtype), mem_flags=flags)
    pinned = host.base
    owner.callback(pinned.free)
    host.fill(0)
    if transfer == "mapped":
        return _Mapped(host, int(pinned.get_device_pointer()))
    return _Copied(cuda, host, device.allocate(host.nbytes, owner))


class _Copied:
    def __init__(self, cuda: Any, host: NDArray[Any], address: int) -> None:  # noqa: ANN401
        self._cuda = cuda
        self.host = host
        self.address = address

    def upload(self, count: int, stream: Any) -> None:  # noqa: ANN401
        self._cuda.memcpy_htod_async(self.address, self.host[:count], stream)

    def download(self, count: int, stream: Any) -> None:  # noqa: ANN401
        self._cuda.memcpy_dtoh_async(self.host[:count], self.address, stream)


class _Mapped:
    def __init__(self, host: NDArray[Any], address: int) -> None:
        self.host = host
        self.address = address

    def upload(self, count: int, stream: Any) -> None:  # noqa: ANN401
        """Do nothing: the device reads the host's memory."""

    def download(self, count: int, stream: Any) -> None:  # noqa: ANN401
        """Do nothing: the device has written into the host's memory."""
