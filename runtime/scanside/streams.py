"""Overlap with bounded queues: the two helpers that the streaming path is made of."""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from concurrent.futures import Future

__all__ = ["InOrder", "prefetch"]

T = TypeVar("T")


class _End:
    """The last thing in the queue: the end of the items, or what ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield items in order while one thread makes the next ones.

    Parameters
    ----------
    items
        Made in the thread, one after the other.
    depth
        The number of items made ahead, at most: memory stays bounded however many there are.

    Yields
    ------
    item
        Each of `items`. An error in the thread is raised here, in its place.

    Notes
    -----
    Closing the generator stops the thread and waits for the item it is at.
    """
    ready: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    thread = threading.Thread(
        target=_make, args=(items, ready, stop), name="scanside-prefetch", daemon=True
    )
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()


def _make(items: Iterable[T], ready: queue.Queue[T | _End], stop: threading.Event) -> None:
    try:
        for item in items:
            if not _put(item, ready, stop):
                return
    except BaseException as error:  # noqa: BLE001 - handed over, not swallowed
        _put(_End(error), ready, stop)
    else:
        _put(_End(), ready, stop)


def _put(item: T | _End, ready: queue.Queue[T | _End], stop: threading.Event) -> bool:
    """Wait for room; give up once nobody reads any more."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


class InOrder(Generic[T]):
    """Hand results on in the order of their jobs, with a bounded number under way.

    Parameters
    ----------
    depth
        The number of jobs under way, at most; `add` waits for the oldest beyond that.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: deque[Future[T]] = deque()

    def add(self, job: Future[T]) -> Iterator[T]:
        """Add the job that makes the next result.

        Parameters
        ----------
        job
            A job that was submitted.

        Yields
        ------
        result
            Each result whose turn it is. An error of its job is raised here, in its place.
        """
        self._waiting.append(job)
        while self._waiting and (len(self._waiting) > self._depth or self._waiting[0].done()):
            yield self._waiting.popleft().result()

    def drain(self) -> Iterator[T]:
        """Yield the rest, waiting for each job."""
        while self._waiting:
            yield self._waiting.popleft().result()

    def rescue(self) -> Iterator[T]:
        """After a failure: cancel the jobs that have not begun, and yield what the others made."""
        for job in self._waiting:
            job.cancel()
        for job in self._waiting:
            if not job.cancelled() and job.exception() is None:
                yield job.result()
        self._waiting.clear()
