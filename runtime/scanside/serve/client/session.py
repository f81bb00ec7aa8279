"""A client's connection: requests out, each answered or lost once."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.errors import BackendError, UsageError
from scanside.serve import wire
from scanside.serve.client.answer import Answer, LostError, RemoteError, decode_answer, decode_error
from scanside.serve.client.memory import Memory
from scanside.serve.codes import Dtype, HelloFlag, InferFlag, Kind, MaskForm
from scanside.serve.wire import BODIES, NO_SLOT

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from scanside.serve.client.stream import Message, Stream

__all__ = ["START_S", "Client"]

_DTYPES: Final = {
    np.dtype("u1"): Dtype.U8, np.dtype("<u2"): Dtype.U16, np.dtype("<f4"): Dtype.F32,
}  # fmt: skip

START_S: Final = 60.0
"""Long enough to load models from a cold disk."""


class Client:
    """A connection to a server. Not for several threads at once.

    Parameters
    ----------
    stream
        The connection.
    process
        The server, where it is this client's own.
    ordered
        Have answers come in the order of the requests.
    slots, slot_bytes
        Shared memory; 0 slots for no memory, None for as many as keep the server busy.
    timeout
        Seconds until the server must have said HELLO.

    Raises
    ------
    RemoteError
        If the server can't start, or does not speak this protocol.
    BackendError
        If it ends without a word.
    """

    def __init__(
        self,
        stream: Stream,
        process: subprocess.Popen[bytes] | None = None,
        *,
        ordered: bool = False,
        slots: int | None = 0,
        slot_bytes: int = 2**20,
        timeout: float = START_S,
    ) -> None:
        self.process: Final = process
        self.draining = False
        self._stream: Final = stream
        self._memory: Memory | None = None
        self._closed = False
        self._last = 0
        self._in_flight: Final[dict[int, int | None]] = {}
        self._done: Final[dict[int, Answer | RemoteError]] = {}
        self._said: Final[dict[int, Message | RemoteError]] = {}
        self._fatal: RemoteError | None = None
        until = time.monotonic() + timeout
        try:
            flags = HelloFlag.ORDERED if ordered else 0
            hello = BODIES.client_hello.encode(wire.ClientHello(*wire.VERSION, flags))
            answer = self._ask(Kind.HELLO, hello, until, payload=b"scanside.serve.client")
            self.hello: Final = BODIES.server_hello.decode(answer.body)
            self.described: Final = answer.payload
            if slots is None:
                limits, most = self.hello, self.hello.max_shared_bytes // slot_bytes
                slots = min(limits.queue_depth, limits.max_in_flight, limits.max_slots, most)
            if slots and self.hello.flags & HelloFlag.SHARED_MEMORY:
                self._attach(slots, slot_bytes, until)
        except BaseException:
            self.close(timeout=1.0)
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def in_flight(self) -> list[int]:
        """The requests that `wait` has not returned yet."""
        return [*self._in_flight, *self._done]

    def submit(
        self,
        pixels: NDArray[np.generic],
        *,
        window: tuple[float, float] | None = None,
        spacing: tuple[float, float] | None = None,
        fill: bool = False,
        mask: MaskForm = MaskForm.BYTES,
        deadline_ms: int = 0,
        timeout: float = 10.0,
    ) -> int:
        """Send a frame; its answer comes from `wait`.

        Parameters
        ----------
        pixels
            uint8, uint16 or float32; ``[H, W, 3]``, or ``[H, W]`` with `fill`.
        window, fill
            As for `scanside.Pipeline.analyse`.
        spacing
            Millimetres between rows and between columns.
        mask
            How the mask is wanted.
        deadline_ms
            The request is given up if it has not begun after so long; 0 for no deadline.
        timeout
            Seconds until the server must have taken it.

        Returns
        -------
        int
            The request's id.

        Raises
        ------
        UsageError
            If the pixels can't be sent.
        TimeoutError
            If the server does not read; the connection has ended then.
        """
        frame = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))
        dtype = _DTYPES.get(frame.dtype.newbyteorder("<"))
        if dtype is None:
            raise UsageError(f"pixels of {pixels.dtype}", accepted="uint8, uint16 or float32")
        if frame.nbytes > self.hello.max_payload:
            raise UsageError(
                f"a frame of {frame.nbytes} bytes",
                accepted=f"up to {self.hello.max_payload}",
                remedy="start the server with a larger --max-frame",
            )
        slot = None if self._memory is None else self._memory.put(frame)
        flags = (
            (InferFlag.WINDOW if window is not None else 0)
            | (InferFlag.SPACING if spacing is not None else 0)
            | (InferFlag.FILL_MISSING if fill else 0)
            | (InferFlag.SLOT if slot is not None else 0)
        )
        number = self._number()
        asked = wire.Infer(
            height=frame.shape[0],
            width=frame.shape[1],
            channels=frame.shape[2],
            dtype=dtype,
            flags=flags,
            mask_form=mask,
            slot=NO_SLOT if slot is None else slot,
            window_low=0.0 if window is None else window[0],
            window_high=0.0 if window is None else window[1],
            spacing_row=0.0 if spacing is None else spacing[0],
            spacing_column=0.0 if spacing is None else spacing[1],
            deadline_ms=deadline_ms,
        )
        payload = b"" if slot is not None else frame.data.cast("B")
        head = wire.encode(Kind.INFER, number, BODIES.infer.encode(asked), len(payload))
        self._in_flight[number] = slot
        self._stream.send((head, payload), time.monotonic() + timeout)
        return number

    def wait(self, number: int | None = None, timeout: float = 10.0) -> Answer:
        """Return the answer to a request; each is returned, or raised, once.

        Parameters
        ----------
        number
            Which; none for the first one that comes.
        timeout
            Seconds. After a `TimeoutError` the request is still in flight.

        Raises
        ------
        RemoteError
            If the server answers with ERROR.
        LostError
            If the connection has ended before the answer came.
        TimeoutError
            If none comes in time.
        UsageError
            If there is no such request.
        """
        if number not in self._in_flight and number not in self._done and number is not None:
            raise UsageError(f"there is no request {number}", accepted=f"one of {self.in_flight}")
        if not self.in_flight:
            raise UsageError("no request is in flight", accepted="one that was submitted")
        until = time.monotonic() + timeout
        while (number not in self._done) if number is not None else not self._done:
            if not self._take(until):
                raise self._lose(number)
        answer = self._done.pop(next(iter(self._done)) if number is None else number)
        if isinstance(answer, RemoteError):
            raise answer
        return answer

    def infer(
        self,
        pixels: NDArray[np.generic],
        *,
        timeout: float = 10.0,
        **asked: Any,  # noqa: ANN401
    ) -> Answer:
        """Send a frame and return the answer; as `submit` and `wait`."""
        return self.wait(self.submit(pixels, timeout=timeout, **asked), timeout)

    def stats(self, timeout: float = 10.0) -> wire.Stats:
        """Return the server's counters."""
        return BODIES.stats.decode(self._ask(Kind.STATS, b"", time.monotonic() + timeout).body)

    def ping(self, timeout: float = 10.0) -> None:
        """Return once the server has answered, whatever it computes."""
        self._ask(Kind.PING, b"", time.monotonic() + timeout)

    def drain(self, timeout: float = 10.0) -> None:
        """Say that no more requests come; return once all are answered, for `wait` to return."""
        self._ask(Kind.DRAIN, b"", time.monotonic() + timeout)

    def close(self, timeout: float = 10.0) -> int | None:
        """End the connection, and the server if it is this client's own.

        Returns
        -------
        int or None
            The exit code of the client's own server.
        """
        if not self._closed:
            self._closed = True
            self._stream.close()
            if self._memory is not None:
                self._memory.close()
        if self.process is None:
            return None
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _ask(self, kind: Kind, body: bytes, until: float, *, payload: bytes = b"",
             descriptor: int | None = None) -> Message:  # fmt: skip
        """Send a message that is not INFER and return its answer."""
        number = self._number()
        head = wire.encode(kind, number, body, len(payload))
        self._stream.send((head + payload,), until, descriptor)
        while number not in self._said:
            if not self._take(until):
                raise self._fatal or BackendError("the server has ended without a word")
        said = self._said.pop(number)
        if isinstance(said, RemoteError):
            raise said
        return said

    def _attach(self, slots: int, slot_bytes: int, until: float) -> None:
        memory = Memory(slots, slot_bytes)
        try:
            layout = BODIES.attach.encode(wire.Attach(slots, slot_bytes))
            self._ask(Kind.ATTACH, layout, until, descriptor=memory.descriptor)
        except BaseException:
            memory.close()
            raise
        self._memory = memory

    def _take(self, until: float) -> bool:
        """Take in one message; false at the end of the stream."""
        message = self._stream.next(until)
        if message is None:
            return False
        number, kind = message.header.id, message.header.kind
        if number in self._in_flight and kind in (Kind.RESULT, Kind.ERROR):
            slot = self._in_flight.pop(number)
            self._done[number] = (
                decode_error(message)
                if kind == Kind.ERROR
                else decode_answer(message, self._slot(slot))
            )
            if self._memory is not None and slot is not None:
                self._memory.give_back(slot)
        elif kind == Kind.ERROR and number == 0:
            self._fatal = decode_error(message)
        elif kind == Kind.ERROR:
            self._said[number] = decode_error(message)
        elif number == 0 and kind == Kind.DRAIN:
            self.draining = True
        else:
            self._said[number] = message
        return True

    def _slot(self, number: int | None) -> memoryview | None:
        return None if number is None or self._memory is None else self._memory.slot(number)

    def _lose(self, number: int | None) -> LostError:
        lost = next(iter(self._in_flight)) if number is None else number
        del self._in_flight[lost]
        return LostError(lost, str(self._fatal or "the connection has ended"))
