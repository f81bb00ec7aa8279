"""``IInt8EntropyCalibrator2`` on prepared slices, in the process that builds.

TensorRT calls it from C++: an exception there would end the process, and "no more slices" is
what it hears of any failure. So failures are kept, and `Session.finish` raises what happened:
an engine whose calibrator did not give every slice is never kept.

References
----------
TensorRT 10 Developer Guide, "INT8 Calibration" (deprecated since 10.1, gone in 11).
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from scanside.errors import BackendError, ExtraNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Session", "open_calibrator"]

_INPUT: Final = "image"
_CLASS: Final = "IInt8EntropyCalibrator2"


class DeviceSlice(Protocol):
    """Memory on the device for one slice."""

    def upload(self, image: NDArray[np.uint8]) -> int:
        """Copy a slice there; return its address."""


class Session:
    """What the calibrator does, apart from TensorRT's class.

    Parameters
    ----------
    images
        uint8 ``[N, 256, 256, 3]``.
    cache
        File of the calibration cache: read if it is there, else written.
    memory
        Where slices go.
    """

    def __init__(self, images: NDArray[np.uint8], cache: Path, memory: DeviceSlice) -> None:
        self._images, self._cache, self._memory = images, cache, memory
        self._given = 0
        self._error: BaseException | None = None
        self._from_cache = False

    def next_slice(self, names: list[str]) -> list[int] | None:
        """Return the address of the next slice, for each input; none after the last one."""
        if names != [_INPUT]:
            raise BackendError(f"TensorRT asks for the inputs {names}", accepted=f"[{_INPUT!r}]")
        if self._given == len(self._images):
            return None
        address = self._memory.upload(np.ascontiguousarray(self._images[self._given]))
        self._given += 1
        return [address]

    def read_cache(self) -> bytes | None:
        """Return what was kept of an earlier calibration of this model with these slices."""
        if not self._cache.exists():
            return None
        self._from_cache = True
        return self._cache.read_bytes()

    def write_cache(self, content: bytes) -> None:
        """Keep the ranges that were chosen."""
        self._cache.write_bytes(bytes(content))

    def attempt(self, what: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return what a call gives; none if it fails, which `finish` then raises."""
        try:
            return what()
        except BaseException as error:  # noqa: BLE001 - nothing may pass through C++
            self._error = self._error or error
            return None

    def finish(self) -> str:
        """Say where the ranges come from.

        Raises
        ------
        BackendError
            If they don't come from all slices, or from the cache of all of them.
        """
        if self._error is not None:
            raise BackendError(
                f"the INT8 calibration failed: {type(self._error).__name__}: {self._error}",
                remedy="scanside doctor says what is missing; or build the bundle's own INT8"
                " models, without --implicit-int8",
            ) from self._error
        if self._given == len(self._images):
            return f"ranges chosen by {_CLASS} from {self._given} slices"
        if self._from_cache and not self._given:
            return f"ranges from the cache of {_CLASS}, of {len(self._images)} slices"
        raise BackendError(
            f"TensorRT took {self._given} of {len(self._images)} slices for its ranges",
            remedy="build the bundle's own INT8 models, without --implicit-int8",
        )


@contextmanager
def open_calibrator(
    trt: Any,  # noqa: ANN401 - any version of the library
    images: Path,
    cache: Path,
    memory: Callable[[int], AbstractContextManager[DeviceSlice]] | None = None,
) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Make a calibrator; it gives one slice a batch.

    Parameters
    ----------
    trt
        TensorRT 8.6 to 10.16, imported.
    images
        NumPy file of the slices.
    cache
        File of the calibration cache.
    memory
        Makes device memory of a number of bytes; none for PyCUDA's.

    Yields
    ------
    tuple
        The calibrator for the builder's configuration, and what says, after the build, where the
        ranges come from.

    Raises
    ------
    ExtraNotInstalledError
        If PyCUDA is not installed.
    """
    held: NDArray[np.uint8] = np.load(images, mmap_mode="r", allow_pickle=False)
    with (memory or _on_device)(held[0].nbytes) as slot:
        session = Session(held, cache, slot)
        yield _calibrator(trt, session), session.finish


def _calibrator(trt: Any, session: Session) -> Any:  # noqa: ANN401
    """Return the session as an object of TensorRT's class."""

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> list[int] | None:
            found: list[int] | None = session.attempt(lambda: session.next_slice(list(names)))
            return found

        def read_calibration_cache(self) -> bytes | None:
            found: bytes | None = session.attempt(session.read_cache)
            return found

        def write_calibration_cache(self, cache: Any) -> None:  # noqa: ANN401
            session.attempt(lambda: session.write_cache(cache))

    return Calibrator()


@contextmanager
def _on_device(size: int) -> Iterator[DeviceSlice]:
    """Give memory in the primary context, which is the one that TensorRT computes in."""
    try:
        cuda = import_module("pycuda.driver")
    except ModuleNotFoundError:
        raise ExtraNotInstalledError(
            "scanside build --implicit-int8", package="pycuda", extra="jetson"
        ) from None
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        slot = _PyCuda(cuda, size)
        try:
            yield slot
        finally:
            slot.free()
    finally:
        context.pop()


class _PyCuda:
    def __init__(self, cuda: Any, size: int) -> None:  # noqa: ANN401
        self._cuda = cuda
        self._memory = cuda.mem_alloc(size)

    def upload(self, image: NDArray[np.uint8]) -> int:
        self._cuda.memcpy_htod(self._memory, image)
        return int(self._memory)

    def free(self) -> None:
        self._memory.free()
