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
    first, second = Future[None](), Future[None]()
    waiting = InOrder[str](depth=4)
    assert list(waiting.add("a", first)) == []
    assert list(waiting.add("b", second)) == []
    second.set_result(None)
    assert list(waiting.add("c", None)) == []
    first.set_result(None)
    assert list(waiting.add("d", None)) == ["a", "b", "c", "d"]
    assert list(waiting.drain()) == []


def test_a_failed_job_is_raised_not_lost() -> None:
    waiting = InOrder[str](depth=0)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        list(waiting.add("a", pool.submit(lambda: 1 / 0)))  # type: ignore[arg-type]
