from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.streams import InOrder, prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator


@given(st.lists(st.integers()), st.integers(1, 5))
def test_items_come_in_order_and_all(items: list[int], depth: int) -> None:
    assert list(prefetch(iter(items), depth)) == items


def test_no_more_than_depth_is_made_ahead() -> None:
    made = 0

    def count() -> Iterator[int]:
        nonlocal made
        for n in range(100):
            made += 1
            yield n

    ahead = prefetch(count(), 3)
    assert next(ahead) == 0
    ahead.close()
    # One handed out, three waiting, one in the thread's hand, one begun.
    assert made <= 6


def test_an_error_comes_in_its_place() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    ahead = prefetch(broken(), 4)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(ahead)


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    ahead = prefetch(iter(range(1000)), 2)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before


def test_results_keep_their_order_whatever_ends_first() -> None:
    first, second, third = Future[str](), Future[str](), Future[str]()
    waiting = InOrder[str](depth=4)
    assert list(waiting.add(first)) == []
    assert list(waiting.add(second)) == []
    second.set_result("b")
    first.set_result("a")
    assert list(waiting.add(third)) == ["a", "b"]
    third.set_result("c")
    assert list(waiting.drain()) == ["c"]


def test_no_more_than_depth_is_under_way() -> None:
    waiting = InOrder[int](depth=2)
    with ThreadPoolExecutor(1) as pool:
        handed_on = [n for job in range(10) for n in waiting.add(pool.submit(int, job))]
        assert len(handed_on) >= 8
        handed_on.extend(waiting.drain())
    assert handed_on == list(range(10))


def test_a_failed_job_is_raised_in_its_place() -> None:
    waiting = InOrder[float](depth=5)
    with ThreadPoolExecutor(1) as pool:
        gate = threading.Event()
        pool.submit(gate.wait)
        for divisor in (1, 0, 2):
            list(waiting.add(pool.submit(lambda by: 1 / by, divisor)))
        gate.set()
        done = waiting.drain()
        assert next(done) == 1
        with pytest.raises(ZeroDivisionError):
            next(done)


def test_after_a_failure_what_was_done_is_handed_on_and_the_rest_does_not_begin() -> None:
    begun: list[int] = []
    waiting = InOrder[int](depth=5)
    failed, done, queued = Future[int](), Future[int](), Future[int]()
    with ThreadPoolExecutor(1) as pool:
        assert list(waiting.add(queued)) == []
        for job in (failed, done):
            assert list(waiting.add(job)) == []
        gate = threading.Event()
        pool.submit(gate.wait)
        assert list(waiting.add(pool.submit(begun.append, 4))) == []  # type: ignore[arg-type]
        failed.set_exception(OSError("disk gone"))
        done.set_result(3)
        assert list(waiting.rescue()) == [3]
        gate.set()
    assert begun == []
    assert queued.cancelled()
