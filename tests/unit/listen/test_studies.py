from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scanside.errors import OutputError
from scanside.listen.config import Purge, Retry
from scanside.listen.outbox import Outbox, pause_after
from scanside.listen.purge import purge
from scanside.listen.show import status_text
from scanside.listen.spool import write_durably
from scanside.listen.status import read_status
from scanside.listen.store import revive
from spools import result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spools import Place


def due(place: Place, name: str = "pacs") -> list[str]:
    outbox = Outbox(place.store, Retry(), place.clock)
    return [parcel.content().decode() for parcel in outbox.due(name, 100)]


def test_a_study_is_due_when_nothing_has_come_for_a_while(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 9
    place.receive("1.2.2")
    place.clock.now += 9.9
    assert place.studies.claim() is None
    assert place.studies.seconds_to_next() == pytest.approx(0.1)
    place.clock.now += 0.2
    assert place.studies.seconds_to_next() == 0.0
    claim = place.claimed()
    assert place.studies.seconds_to_next() == float("inf")
    assert (claim.revision, len(claim.files), claim.overdue) == (2, 2, False)
    assert place.studies.claim() is None  # it is taken


def test_a_result_is_posted_to_each_destination_that_wants_it(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 20
    assert place.studies.finish(place.claimed(), "complete", result(1, "sr", "seg"))
    assert due(place) == ["seg-1", "sr-1"]  # the report when what it refers to is there
    assert due(place, "archive") == ["sr-1"]
    assert place.studies.claim() is None


def test_an_incomplete_study_waits_for_its_deadline_or_for_more(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.wait(place.claimed(), "no post-contrast")
    assert place.studies.claim() is None
    place.receive("1.2.2")
    place.clock.now += 11
    second = place.claimed()
    assert (len(second.files), second.overdue) == (2, False)
    place.studies.wait(second, "no post-contrast")
    place.clock.now = 1099.9
    assert place.studies.claim() is None
    place.clock.now = 1100.0
    assert place.claimed().overdue


def test_what_comes_while_a_study_is_looked_at_is_looked_at_next(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    claim = place.claimed()
    place.receive("1.2.2")
    place.studies.finish(claim, "complete", result(1))
    assert place.studies.claim() is None
    place.clock.now += 11
    second = place.claimed()
    assert (len(second.files), second.overdue) == (2, False)
    assert second.current == result(1)[0].reference


def test_a_later_object_makes_a_new_current_result(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "incomplete", result(1))
    place.clock.now += 5000
    place.receive("1.2.2")
    place.clock.now += 11
    claim = place.claimed()
    assert not claim.overdue  # its time begins anew
    assert (claim.current, claim.predecessors) == (result(1)[0].reference, ())
    place.studies.finish(claim, "complete", result(2))
    status = read_status(place.store.read, place.clock)
    assert (status.results, status.superseded) == ({"complete": 1}, 1)
    assert due(place) == ["sr-1", "sr-2"]
    place.receive("1.2.3")
    place.clock.now += 11
    third = place.claimed()
    assert third.current == result(2)[0].reference
    assert third.predecessors == (result(1)[0].reference,)


def test_the_same_result_again_is_not_sent_again(place: Place) -> None:
    place.receive("1.2.1", b"a")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    place.receive("1.2.1", b"the same pixels, encoded in another way")
    place.clock.now += 11
    assert not place.studies.finish(place.claimed(), "complete", result(1))
    assert due(place) == ["sr-1"]
    assert read_status(place.store.read, place.clock).superseded == 0


def test_after_a_kill_the_study_is_looked_at_again(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.claimed()
    assert place.reopen() == 1
    assert place.claimed().study_uid == "1.2"


def test_a_kill_between_a_results_files_and_its_rows_leaves_neither(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    place.receive("1.2.1")
    place.clock.now += 11
    claim = place.claimed()
    with monkeypatch.context() as patch:
        patch.setattr(place.studies, "_enter", killed)
        with pytest.raises(KeyboardInterrupt):
            place.studies.finish(claim, "complete", result(1))
    assert any(file.startswith("results") for file in place.files())
    place.reopen()
    assert not any(file.startswith("results") for file in place.files())
    place.studies.finish(place.claimed(), "complete", result(1))
    assert due(place) == ["sr-1"]


def test_a_study_that_fails_is_tried_again_later_and_then_left(place: Place) -> None:
    place.receive("1.2.1")
    pauses, left = [], False
    for _ in range(5):
        before = place.clock.now
        while (claim := place.studies.claim()) is None:
            place.clock.now += 1
        pauses.append(place.clock.now - before)
        left = place.studies.fail(claim, "no device")
    assert left
    assert pauses == [10, 10, 20, 40, 80]
    status = read_status(place.store.read, place.clock)
    assert (status.studies["failed"], status.failed[0].reason) == (1, "no device")
    assert status.idle
    assert "no device" in status_text(status)
    assert revive(place.folder, place.clock.now) == (0, 1)
    assert place.claimed().study_uid == "1.2"


def test_a_failed_study_begins_anew_when_more_comes(place: Place) -> None:
    place.receive("1.2.1")
    for _ in range(5):
        place.clock.now += 1000
        place.studies.fail(place.claimed(), "no device")
    place.receive("1.2.2")
    place.clock.now += 11
    assert not place.claimed().overdue


def test_pauses_grow_to_the_longest() -> None:
    retry = Retry(first_seconds=2.0, longest_seconds=30.0)
    assert [pause_after(n, retry) for n in (1, 2, 3, 4, 5, 1000)] == [2, 4, 8, 16, 30, 30]


def test_a_refused_object_is_dead_after_so_many_tries_and_can_be_revived(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    outbox = Outbox(place.store, Retry(attempts=2), place.clock)
    (parcel,) = outbox.due("archive", 10)
    assert not outbox.refuse(parcel, "archive", "status C000")
    assert outbox.due("archive", 10) == []
    place.clock.now += 5
    (parcel,) = outbox.due("archive", 10)
    assert outbox.refuse(parcel, "archive", "status C000")
    place.clock.now += 1e6
    assert outbox.due("archive", 10) == []
    status = read_status(place.store.read, place.clock)
    assert status.destinations["archive"].dead == 1
    assert "status C000" in status_text(status)
    assert revive(place.folder, place.clock.now) == (1, 0)
    assert len(outbox.due("archive", 10)) == 1


def test_a_destination_that_is_not_reachable_is_tried_for_ever(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    outbox = Outbox(place.store, Retry(attempts=2, longest_seconds=60), place.clock)
    for failures in range(1, 50):
        assert len(outbox.due("archive", 10)) == 1
        assert outbox.postpone("archive", failures, "not reachable") == 1
        assert outbox.due("archive", 10) == []
        place.clock.now += 60
    status = read_status(place.store.read, place.clock).destinations["archive"]
    assert (status.pending, status.dead, status.reason) == (1, 0, "not reachable")


def test_a_damaged_result_is_not_sent(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    (parcel,) = Outbox(place.store, Retry(), place.clock).due("archive", 10)
    parcel.path.write_bytes(b"sr-2")
    with pytest.raises(OutputError, match="damaged"):
        parcel.content()


def test_only_what_is_delivered_everywhere_is_purged(place: Place) -> None:
    policy = Purge(keep_hours=1.0, aside_hours=1.0)
    place.receive("1.2.1")
    place.receive("1.9.1", study=None)
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    outbox = Outbox(place.store, Retry(), place.clock)
    (parcel,) = outbox.due("archive", 10)
    assert read_status(place.store.read, place.clock).first_result_seconds is None
    assert outbox.delivered(parcel, "archive") == 11.0
    status = read_status(place.store.read, place.clock)
    assert status.first_result_seconds == 11.0
    assert "first result  11.0 s" in status_text(status)
    place.clock.now += 7200
    assert purge(place.store, place.spool, policy, 1e9, place.clock) == 1  # what was set aside
    assert len(place.files()) == 2
    (parcel,) = outbox.due("pacs", 10)
    assert outbox.delivered(parcel, "pacs") is None  # not the first that was accepted
    assert purge(place.store, place.spool, policy, 1e9, place.clock) == 0
    place.clock.now += 3601
    assert purge(place.store, place.spool, policy, 1e9, place.clock) == 2
    assert place.files() == []
    assert place.spool.used == 0
    counts = [
        f"SELECT count(*) FROM {table}"  # noqa: S608
        for table in ("instance", "study", "result", "object", "delivery")
    ]
    assert [place.store.read(count) for count in counts] == [[(0,)]] * 5


def test_what_is_delivered_is_purged_before_its_time_when_the_spool_fills(place: Place) -> None:
    outbox = Outbox(place.store, Retry(), place.clock)
    for number in range(1, 5):
        place.receive(f"1.2.{number}", bytes(100), study=f"1.2.{number}")
        place.clock.now += 11
        place.studies.finish(place.claimed(), "complete", result(number))
        if number != 2:
            for name in ("archive", "pacs"):
                (parcel,) = outbox.due(name, 1) if number < 2 else outbox.due(name, 9)[-1:]
                outbox.delivered(parcel, name)
        place.clock.now += 1
    purge(place.store, place.spool, Purge(keep_fraction=0.8), 300, place.clock)
    assert place.store.read("SELECT uid FROM study") == [("1.2.2",), ("1.2.4",)]


def test_what_is_not_delivered_is_purged_when_told(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    place.receive("1.3.1", study="1.3")
    place.clock.now += 11
    (parcel,) = Outbox(place.store, Retry(), place.clock).due("pacs", 10)
    assert purge(place.store, place.spool, Purge(undelivered_hours=1), 1e9, place.clock) == 0
    place.clock.now += 3601
    assert purge(place.store, place.spool, Purge(undelivered_hours=1), 1e9, place.clock) == 2
    assert place.store.read("SELECT uid FROM study") == [("1.3",)]  # not looked at yet
    # It was on its way.
    assert Outbox(place.store, Retry(), place.clock).delivered(parcel, "pacs") is None


def test_a_study_that_comes_without_a_pause_is_looked_at_by_its_deadline(place: Place) -> None:
    for number in range(12):
        place.receive(f"1.2.{number}")
        place.clock.now += 9
    claim = place.claimed()
    assert (claim.overdue, len(claim.files)) == (True, 12)
    place.studies.finish(claim, "incomplete", result(1))
    place.receive("1.2.99")
    assert place.studies.claim() is None  # it begins anew


def test_all_of_a_destination_waits_and_what_it_had_no_room_for_comes_last(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1, "seg", "sr"))
    outbox = Outbox(place.store, Retry(), place.clock)
    first, second = outbox.due("pacs", 10)
    assert outbox.postpone("pacs", 1, "out of resources (A700)", behind=first) == 2
    assert outbox.due("pacs", 10) == []
    place.clock.now += 5.1
    assert outbox.due("pacs", 10) == [second, first]
    assert len(outbox.due("archive", 10)) == 1


def test_a_study_that_an_object_left_is_looked_at_again(place: Place) -> None:
    place.receive("1.2.1")
    place.receive("1.2.2")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    assert place.receive("1.2.2", b"y", study="1.9") == "replaced"
    place.clock.now += 11
    claims = {claim.study_uid: claim for claim in (place.claimed(), place.claimed())}
    assert {uid: len(claim.files) for uid, claim in claims.items()} == {"1.2": 1, "1.9": 1}
    assert claims["1.2"].current == result(1)[0].reference


def test_a_study_that_all_objects_left_is_over(place: Place) -> None:
    place.receive("1.2.1")
    place.receive("1.2.1", b"y", study="1.9")
    place.clock.now += 11
    assert place.claimed().study_uid == "1.9"
    assert place.studies.claim() is None
    assert place.store.read("SELECT uid FROM study") == [("1.9",)]


def test_a_result_stays_when_all_objects_left_its_study(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    place.studies.finish(place.claimed(), "complete", result(1))
    place.receive("1.2.1", b"y", study="1.9")
    place.clock.now += 11
    assert place.claimed().study_uid == "1.9"
    assert place.studies.claim() is None
    assert place.store.read("SELECT state FROM study WHERE uid = '1.2'") == [("done",)]
    assert due(place) == ["sr-1"]


def test_a_result_that_could_not_be_kept_takes_no_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    claim, used, files = place.claimed(), place.spool.used, place.files()
    with monkeypatch.context() as patch:
        patch.setattr(place.studies, "_post", failing)
        for _ in range(3):
            with pytest.raises(OutputError):
                place.studies.finish(claim, "complete", result(1, "seg", "sr"))
    with monkeypatch.context() as patch:
        patch.setattr("scanside.listen.studies.write_durably", failing_at(2))
        with pytest.raises(OutputError):
            place.studies.finish(claim, "complete", result(1, "seg", "sr"))
    assert (place.spool.used, place.files()) == (used, files)
    assert place.studies.finish(claim, "complete", result(1, "seg", "sr"))
    assert due(place) == ["seg-1", "sr-1"]


def failing(*_: object) -> None:
    raise OutputError("the disk fails")


def failing_at(number: int) -> Callable[[Path, bytes], None]:
    """`write_durably`, which fails when it is called so many times."""
    calls = iter(range(1, number))

    def write(path: Path, content: bytes) -> None:
        if next(calls, None) is None:
            failing()
        write_durably(path, content)

    return write
