"""The CUDA device, its primary context, and the one thread that owns both.

TensorRT's execution contexts and PyCUDA's objects belong to the thread in which the CUDA context
is current: a call from another one fails, and a buffer that another one collects is never freed.
So everything that is made, changed, launched or freed passes through the owner thread. What a
calling thread does itself is wait for an event, which the driver lets any thread do: the owner
never waits, so that one slice can be launched while another computes.

PyCUDA ends the process where a thread ends with a context on PyCUDA's own stack, as one would after
a failed `pop`. Calling threads therefore make the context current through the driver.

References
----------
CUDA Driver API, 6.8 "Primary Context Management" and "Difference between the driver and runtime
APIs"; CUDA C++ Programming Guide, 3.2.12 "Error Checking" (errors that stay).
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from scanside.backends.tensorrt.library import Handle, driver_error
from scanside.backends.tensorrt.owner import Owner, without_frames
from scanside.errors import BackendError, DeviceLostError, ScansideError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.backends.tensorrt.library import Libraries

__all__ = ["LESS_MEMORY", "Device"]

T = TypeVar("T")

_NON_BLOCKING: Final = 1
"""``CU_STREAM_NON_BLOCKING``: the stream does not wait for the default one, nor that for it."""

_RESTART: Final = (
    "end this process and start another: nothing else clears the error. If it comes again, the"
    " driver's reason is in the kernel's log (sudo dmesg | grep -i -e NVRM -e nvgpu)"
)
LESS_MEMORY: Final = (
    "close what else uses the GPU's memory, or build engines with a smaller --batch"
)


class Device:
    """The first CUDA device; ``CUDA_VISIBLE_DEVICES`` says which that is.

    Parameters
    ----------
    libraries
        PyCUDA and the driver.

    Attributes
    ----------
    name
        As CUDA gives it.
    capability
        Compute capability, for instance ``8.7``.
    integrated
        Whether it shares the host's memory, as on a Jetson.

    Raises
    ------
    BackendError
        If there is no device, or it can't be used.
    """

    name: str
    capability: str
    integrated: bool

    def __init__(self, libraries: Libraries) -> None:
        self._cuda = libraries.cuda
        self._driver = libraries.driver
        self._lost: str | None = None
        self._context: Any = None
        self._owned = ExitStack()
        self._owner = Owner("scanside-cuda")
        try:
            self._owner.run(self._begin)
        except BaseException:
            self.close()
            raise

    def run(self, what: str, work: Callable[[], T]) -> T:
        """Do something in the owner thread and wait until it is done there.

        Parameters
        ----------
        what
            What is done, for the error.
        work
            Must not wait for the device.

        Raises
        ------
        DeviceLostError
            If the device failed so that nothing in this process can use it any more.
        BackendError
            If CUDA reports any other error, or `work` raises one.
        """
        if self._lost is not None:
            raise self._gone(self._lost)
        return self._owner.run(partial(self._guarded, what, work))

    def wait(self, what: str, waiting: Callable[[], None]) -> None:
        """Let the calling thread wait.

        Parameters
        ----------
        what
            What is waited for, for the error.
        waiting
            Waits for an event that the owner thread has recorded.

        Raises
        ------
        DeviceLostError, BackendError
            As `run`.
        """
        error = self._waited(waiting)
        if error is not None:
            raise self._owner.run(partial(self._judged, what, error)) from error

    def stream(self) -> Any:  # noqa: ANN401 - PyCUDA
        """Return a new stream; owner thread only, and so is letting go of it."""
        return self._cuda.Stream(_NON_BLOCKING)

    def event(self, *, sleeping: bool) -> Any:  # noqa: ANN401 - PyCUDA
        """Return a new event; owner thread only, and so is letting go of it.

        Parameters
        ----------
        sleeping
            Whether a thread that waits for it sleeps, where the default is to look again and
            again: that takes a core and answers some microseconds sooner.
        """
        flags = self._cuda.event_flags
        sleep = int(flags.BLOCKING_SYNC) if sleeping else 0
        return self._cuda.Event(int(flags.DISABLE_TIMING) | sleep)

    def allocate(self, size: int, owner: ExitStack) -> int:
        """Return the address of new device memory; owner thread only.

        Parameters
        ----------
        size
            Bytes.
        owner
            Whose closing frees it.
        """
        memory = self._cuda.mem_alloc(size)
        owner.callback(memory.free)
        return int(memory)

    def own(self, owner: ExitStack) -> None:
        """Close something together with the device, before all that came earlier."""
        self._owned.callback(owner.close)

    def close(self) -> None:
        """Free everything and give the context back; a second call does nothing."""
        if self._owner.ended:
            return
        if self._context is not None:
            self._owner.run(self._end)
        self._owner.end()

    def _begin(self) -> None:
        cuda = self._cuda
        try:
            cuda.init()
            device = cuda.Device(0)
            self.name = str(device.name())
            self.capability = "{}.{}".format(*device.compute_capability())
            integrated = device.get_attribute(cuda.device_attribute.INTEGRATED)
            self.integrated = bool(integrated)
            self._context = device.retain_primary_context()
            self._handle = Handle(self._context.handle)
            self._context.push()
        except cuda.Error as error:
            raise BackendError(
                f"there is no CUDA device that can be used: {error}",
                remedy="scanside doctor says what is missing; --backend cpu needs no GPU",
            ) from error

    def _end(self) -> None:
        # After an error that stays, every call fails; the driver frees all with the process.
        with suppress(self._cuda.Error):
            self._owned.close()
        context, self._context = self._context, None
        # Takes it from PyCUDA's stack as well, which `pop` would not do where the driver fails.
        with suppress(self._cuda.Error):
            context.detach()

    def _waited(self, waiting: Callable[[], None]) -> Exception | None:
        """Wait in the calling thread; return what was wrong."""
        if code := self._driver.cuCtxPushCurrent_v2(self._handle):
            return driver_error(self._driver, "cuCtxPushCurrent", code)
        try:
            without_frames(waiting)
        except self._cuda.Error as error:
            return error  # type: ignore[no-any-return]
        finally:
            self._driver.cuCtxPopCurrent_v2(None)
        return None

    def _guarded(self, what: str, work: Callable[[], T]) -> T:
        try:
            return without_frames(work)
        except (self._cuda.Error, BackendError) as error:
            raise self._judged(what, error) from error

    def _judged(self, what: str, error: Exception) -> BackendError:
        """Return the error to raise; on the way, wait for what is under way on the device."""
        try:
            self._cuda.Context.synchronize()
        except self._cuda.Error as again:
            self._lost = f"{what}: {error}" if str(error) == str(again) else f"{what}: {again}"
            return self._gone(self._lost)
        if isinstance(error, ScansideError):
            return BackendError(
                f"{what}: {error.given}", accepted=error.accepted, remedy=error.remedy
            )
        short = isinstance(error, self._cuda.MemoryError)
        return BackendError(f"{what}: {error}", remedy=LESS_MEMORY if short else "")

    def _gone(self, why: str) -> DeviceLostError:
        return DeviceLostError(f"{self.name} can't be used any more: {why}", remedy=_RESTART)
