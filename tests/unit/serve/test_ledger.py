"""What a client is owed: one answer each, in its turn, and none once it has gone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.errors import BackendError
from scanside.serve.codes import Cause, MaskForm
from scanside.serve.counters import Counters
from scanside.serve.lanes import Job, Outcome
from scanside.serve.ledger import Ledger
from scanside.serve.limits import Limits
from scanside.serve.requests import Frame, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits(max_in_flight=4, max_payload=1000)


class Outbox:
    """Takes messages, and may find at one of them that nobody reads."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.fails: Callable[[], object] | None = None

    def send(self, parts: tuple[bytes, ...]) -> bool:
        if self.fails is not None:
            self.fails()
            return False
        self.sent.append(b"".join(parts))
        return True


def frame(*, slot: int | None = None, size: int = 12) -> Frame:
    return Frame(
        shape=(2, 2, 3), dtype=np.dtype("u1"), size=size, window=None, spacing=None, fill=False,
        mask_form=MaskForm.BYTES, slot=slot, deadline_s=None,
    )  # fmt: skip


def job(number: int, **asked: Any) -> Job:
    slot = memoryview(bytearray(128)) if asked.get("slot") is not None else None
    pixels = np.zeros((2, 2, 3), np.uint8)
    return Job(None, number, frame(**asked), pixels, slot, 0.0)  # type: ignore[arg-type]


def outcome(number: int) -> Outcome:
    return Outcome((b"%d" % number,), ("answered",), b"\1\0\1\0")


def ledger(*, ordered: bool) -> tuple[Ledger, Outbox, Counters]:
    outbox, counters = Outbox(), Counters()
    made = Ledger(outbox, LIMITS, counters)  # type: ignore[arg-type]
    made.ordered = ordered
    return made, outbox, counters


@given(st.permutations(range(1, 5)), st.booleans())
def test_answers_come_once_and_in_order_where_that_was_asked(
    order: list[int],
    ordered: bool,  # noqa: FBT001
) -> None:
    made, outbox, counters = ledger(ordered=ordered)
    jobs = {n: job(n) for n in range(1, 5)}
    for each in jobs.values():
        assert made.add(each)
    for number in order:
        made.answer(jobs[number], outcome(number))
        made.answer(jobs[number], outcome(number))
    wanted = sorted(order) if ordered else order
    assert outbox.sent == [b"%d" % number for number in wanted]
    assert not made
    assert (counters["accepted"], counters["answered"], counters["dropped"]) == (4, 4, 0)


def test_a_refusal_waits_for_its_turn_too() -> None:
    made, outbox, counters = ledger(ordered=True)
    first = job(1)
    made.add(first)
    made.refuse(2, Refusal(Cause.REQUEST, BackendError("no")))
    assert outbox.sent == []
    assert 2 in made
    made.answer(first, outcome(1))
    assert [sent[:1] for sent in outbox.sent] == [b"1", b"S"]
    assert 2 not in made
    assert counters["refused"] == 1


def test_a_client_that_goes_while_answers_are_sent_ends_nothing_else() -> None:
    """The first of three ready answers can't be sent: the other two are dropped with it."""
    made, outbox, counters = ledger(ordered=True)
    jobs = [job(n) for n in range(1, 4)]
    for each in jobs:
        made.add(each)
    made.answer(jobs[1], outcome(2))
    made.answer(jobs[2], outcome(3))
    outbox.fails = made.close
    made.answer(jobs[0], outcome(1))
    assert not made.close()
    assert counters["dropped"] == 0
    assert counters["answered"] == 3


def test_a_mask_is_not_written_once_the_client_has_gone() -> None:
    made, _, counters = ledger(ordered=False)
    late, timely = job(1, slot=0), job(2, slot=1)
    made.add(late)
    made.add(timely)
    made.answer(timely, outcome(2))
    made.close()
    made.answer(late, outcome(1))
    assert late.slot is not None
    assert timely.slot is not None
    assert bytes(late.slot) == bytes(128)
    assert bytes(timely.slot[64:68]) == b"\1\0\1\0"
    assert counters["dropped"] == 1
    assert not made.add(job(3))


def test_no_more_is_in_flight_than_allowed() -> None:
    made, _, _ = ledger(ordered=False)
    for number in range(1, 4):
        made.add(job(number, slot=number))
    with pytest.raises(Refusal, match="slot 2") as taken:
        made.check_room(frame(slot=2))
    assert taken.value.cause is Cause.SHARED_MEMORY
    made.check_room(frame(size=4000 - 4))
    with pytest.raises(Refusal, match="bytes"):
        made.check_room(frame(size=4000))
    made.add(job(4))
    with pytest.raises(Refusal, match="4 requests") as full:
        made.check_room(frame())
    assert full.value.cause is Cause.QUEUE_FULL


def test_an_answer_that_waits_for_its_turn_is_in_flight() -> None:
    made, _, _ = ledger(ordered=True)
    jobs = [job(n) for n in range(1, 5)]
    for each in jobs:
        made.add(each)
    for each in jobs[1:]:
        made.answer(each, outcome(each.number))
    with pytest.raises(Refusal, match="4 requests"):
        made.check_room(frame())
    made.answer(jobs[0], outcome(1))
    made.check_room(frame())


def test_its_bytes_count_too() -> None:
    made, _, _ = ledger(ordered=True)
    first, second = job(1), job(2)
    made.add(first)
    made.add(second)
    made.answer(second, Outcome((bytes(3000),), ("answered",)))
    with pytest.raises(Refusal, match="bytes"):
        made.check_room(frame(size=1000))
    made.answer(first, outcome(1))
    made.check_room(frame(size=1000))


def test_a_client_whose_refusals_wait_for_their_turn_is_not_read() -> None:
    made, outbox, _ = ledger(ordered=True)
    first = job(1)
    made.add(first)
    for number in range(2, 9):
        made.wait_for_turns()
        made.refuse(number, Refusal(Cause.REQUEST, BackendError("no")))
    reader = threading.Thread(target=made.wait_for_turns)
    reader.start()
    reader.join(0.2)
    assert reader.is_alive()
    made.answer(first, outcome(1))
    reader.join(30)
    assert not reader.is_alive()
    assert len(outbox.sent) == 8
