"""One thread that does what others give it, in order."""

from __future__ import annotations

import queue
import threading
import traceback
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Owner", "without_frames"]

T = TypeVar("T")


class Owner:
    """A thread for what may be used by one thread only.

    It does not keep the process from ending, and is not ended before it: PyCUDA aborts the process
    where a thread ends whose context is still current, as that of a backend nobody has closed.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._given: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._given = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], T]) -> T:
        """Do something in the thread, and wait for it.

        Parameters
        ----------
        work
            What it returns or raises is returned or raised here.
        """
        done: Future[T] = Future()
        self._given.put((done, work))
        return done.result()

    @property
    def ended(self) -> bool:
        """Whether the thread has ended: nothing can be given to it then."""
        return not self._thread.is_alive()

    def end(self) -> None:
        """Let the thread end, once it has done what it was given."""
        self._given.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (given := self._given.get()) is not None:
            done, work = given
            try:
                done.set_result(without_frames(work))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                done.set_exception(error)
            del given, done, work  # nothing is kept until the next one comes


def without_frames(work: Callable[[], T]) -> T:
    """Do something; an error keeps no local variables, to be collected in another thread."""
    try:
        return work()
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
