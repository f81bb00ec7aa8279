from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from scanside.errors import OutputError
from scanside.listen.config import Purge
from scanside.listen.purge import purge
from scanside.listen.store import SpoolFullError, Store, read_only, revive
from spools import Place, result

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.listen.studies import Claim


def test_an_object_is_on_disk_when_it_is_accepted(place: Place) -> None:
    assert place.receive("1.2.3", b"content") == "new"
    (file,) = place.files()
    assert (place.folder / file).read_bytes() == b"content"
    assert place.spool.used == 7


def test_no_file_name_tells_a_uid_and_only_the_owner_reads(place: Place) -> None:
    place.receive("1.2.3.4567", study="1.2.99999")
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    (file,) = place.files()
    assert stat.S_IMODE((place.folder / file).stat().st_mode) == 0o600
    names = " ".join(path.name for path in place.folder.rglob("*"))
    assert "4567" not in names
    assert "99999" not in names


def test_the_same_object_again_changes_nothing(place: Place) -> None:
    place.receive("1.2.3")
    before = place.store.read("SELECT revision, due FROM study")
    place.clock.now += 5
    assert place.receive("1.2.3") == "known"
    assert place.store.read("SELECT revision, due FROM study") == before
    assert len(place.files()) == 1


def test_another_object_under_a_known_uid_replaces_it(place: Place) -> None:
    place.receive("1.2.3", b"first")
    assert place.receive("1.2.3", b"second!") == "replaced"
    (file,) = place.files()
    assert (place.folder / file).read_bytes() == b"second!"
    assert place.spool.used == 7
    assert place.store.read("SELECT revision FROM study") == [(2,)]


def test_what_is_set_aside_is_of_no_study(place: Place) -> None:
    place.receive("1.2.3", study=None)
    assert place.store.read("SELECT count(*) FROM study") == [(0,)]
    assert len(place.files()) == 1


def test_a_full_spool_takes_nothing_more(tmp_path: Path) -> None:
    place = Place(tmp_path / "spool", max_gb=1e-8)
    place.receive("1.2.3", b"0123456789")
    with pytest.raises(SpoolFullError, match=r"accepted: at most spool\.max_gb = 1e-08"):
        place.receive("1.2.4", b"x")
    assert place.spool.used == 10
    place.store.close()


def test_a_full_disk_takes_nothing_more(tmp_path: Path) -> None:
    place = Place(tmp_path / "spool", min_free_gb=1e9)
    with pytest.raises(SpoolFullError, match="of the disk are free"):
        place.receive("1.2.4", b"x")
    assert place.files() == []
    place.store.close()


def test_a_failed_write_is_no_object(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("scanside.listen.spool.replace_file", broken)
    with pytest.raises(OutputError, match="Input/output error"):
        place.receive("1.2.3", b"content")
    assert place.spool.used == 0
    assert place.store.read("SELECT count(*) FROM instance") == [(0,)]


def test_files_without_a_row_are_deleted_at_the_next_start(place: Place) -> None:
    place.receive("1.2.3", b"content")
    kept = place.files()
    for stray in ("received/ab/cd.dcm", "received/ab/.12.part", "results/ef.dcm"):
        path = place.folder / stray
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"never acknowledged")
    place.reopen()
    assert place.files() == kept
    assert place.spool.used == 7


def test_the_same_objects_from_many_threads_are_there_once(place: Place) -> None:
    outcomes: list[str] = []

    def send() -> None:
        outcomes.extend([place.receive(f"1.2.{number}", b"content") for number in range(20)])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 80
    assert len(place.files()) == 20
    assert place.spool.used == 20 * 7
    place.reopen()
    assert place.spool.used == 20 * 7


def test_a_spool_has_one_node(place: Place) -> None:
    with pytest.raises(OutputError, match="another node has this spool"):
        Store(place.folder)


def test_a_spool_of_another_schema_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "spool")
    with store.transaction() as cursor:
        cursor.execute("PRAGMA user_version = 7")
    store.close()
    with pytest.raises(OutputError, match=r"schema 7; accepted: schema 1"):
        Store(tmp_path / "spool")


def test_a_failed_transaction_leaves_nothing(place: Place) -> None:
    def insert_twice() -> None:
        with place.store.transaction() as cursor:
            for _ in range(2):
                cursor.execute("INSERT INTO study VALUES ('1', 'done', 1, 0, 0, 0, 0, NULL)")

    with pytest.raises(sqlite3.IntegrityError):
        insert_twice()
    assert place.store.read("SELECT count(*) FROM study") == [(0,)]


def test_beside_the_node_a_spool_is_read_only_and_must_be_there(
    place: Place, tmp_path: Path
) -> None:
    place.receive("1.2.3")
    with read_only(place.folder) as read:
        assert read("SELECT count(*) FROM instance") == [(1,)]
    with pytest.raises(OutputError, match="readonly"), read_only(place.folder) as read:
        read("DELETE FROM instance")
    with pytest.raises(OutputError, match="there is no spool"), read_only(tmp_path / "absent"):
        pass
    with pytest.raises(OutputError, match="there is no spool"):
        revive(tmp_path / "absent", 0.0)


def test_what_is_below_the_folder_and_not_the_spools_is_left_alone(place: Place) -> None:
    other = place.folder / "other" / "work.txt"
    other.parent.mkdir()
    other.write_text("of somebody else")
    place.reopen()
    assert other.read_text() == "of somebody else"


def test_a_spool_that_lost_its_database_is_not_taken_for_a_new_one(place: Place) -> None:
    place.receive("1.2.3")
    place.store.close()
    (place.folder / "spool.sqlite").unlink()
    with pytest.raises(OutputError, match="objects without the database"):
        Store(place.folder)
    assert len(place.files()) == 1
    place.folder.joinpath("received").rename(place.folder / "saved")
    place.reopen()


def test_a_folder_that_others_may_read_is_not_taken(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(OutputError, match="755"):
        Store(tmp_path)
    tmp_path.chmod(0o700)
    Store(tmp_path).close()
    assert stat.S_IMODE((tmp_path / "spool.sqlite").stat().st_mode) == 0o600


def test_the_same_object_on_two_associations_at_once_is_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = place.store.read
    monkeypatch.setattr(place.store, "read", lambda *_: [])  # as before the other one was entered
    assert [place.receive("1.2.3"), place.receive("1.2.3")] == ["new", "known"]
    assert read("SELECT revision FROM study") == [(1,)]
    assert len(place.files()) == 1
    assert place.spool.used == 1


def test_an_object_that_comes_again_while_it_is_purged_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.receive("1.2.3")
    place.studies.finish(place_due(place), "complete", result(1))
    place.store.read("UPDATE delivery SET state = 'delivered', delivered = 0")
    remove = place.spool.remove

    def late(file: str, size: int) -> None:
        monkeypatch.setattr(place.spool, "remove", remove)
        assert place.receive("1.2.3") == "new"
        remove(file, size)

    monkeypatch.setattr(place.spool, "remove", late)
    place.clock.now += 10_000
    assert purge(place.store, place.spool, Purge(keep_hours=1), 1e9, place.clock) == 2
    ((file,),) = place.store.read("SELECT file FROM instance")
    assert place.files() == [file]


def place_due(place: Place) -> Claim:
    place.clock.now += 10
    return place.claimed()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, SpoolFullError), (errno.EIO, OutputError)]
)
def test_a_full_disk_is_told_from_one_that_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[OutputError]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("scanside.listen.spool.replace_file", fail)
    with pytest.raises(OutputError, match=os.strerror(number)) as raised:
        place.receive("1.2.3")
    assert type(raised.value) is kind
    assert place.spool.used == 0


def test_a_database_that_fails_is_told_and_used_again(place: Place) -> None:
    place.store.read("PRAGMA max_page_count = 1")  # no page more than there are
    accepted = 0

    def receive_until_full() -> None:
        nonlocal accepted
        while True:
            place.receive(f"1.2.{accepted}")
            accepted += 1

    with pytest.raises(SpoolFullError, match="full"):
        receive_until_full()
    place.store.read("PRAGMA max_page_count = 1000000")
    assert place.receive("1.2.3.4") == "new"
    assert len(place.files()) == accepted + 1


def test_results_have_room_when_nothing_more_is_received(tmp_path: Path) -> None:
    place = Place(tmp_path / "full", max_gb=1e-9)
    place.receive("1.2.3")
    with pytest.raises(SpoolFullError):
        place.receive("1.2.4")
    assert place.studies.finish(place_due(place), "complete", result(1, "sr", "seg"))
    place.store.close()


def test_a_study_that_ends_the_process_again_and_again_lets_the_others_pass(place: Place) -> None:
    place.receive("1.2.3", study="1.2")
    place.receive("1.2.4", study="1.3")
    place.clock.now += 10
    claimed = [place.claimed().study_uid]
    place.clock.now += 1
    place.reopen()
    claimed.append((other := place.claimed()).study_uid)
    place.studies.finish(other, "complete", result(1))
    for _ in range(4):
        claimed.append(place.claimed().study_uid)
        place.reopen()
        assert place.studies.claim() is None
        place.clock.now += 1000
    assert claimed == ["1.2", "1.3", "1.2", "1.2", "1.2", "1.2"]
    assert place.store.read("SELECT uid, state FROM study") == [("1.3", "done"), ("1.2", "failed")]
    place.receive("1.2.5", study="1.2")
    assert place_due(place).study_uid == "1.2"


def test_a_damaged_database_is_a_disk_that_failed(place: Place) -> None:
    place.receive("1.2.1")
    place.store.close()
    file = place.folder / "spool.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # the first page is whole
    file.write_bytes(content)
    store = Store(place.folder)
    with pytest.raises(OutputError, match="malformed"):
        store.read("SELECT * FROM instance")
    store.close()
    with pytest.raises(OutputError, match="malformed"), read_only(place.folder) as read:
        read("SELECT * FROM study")
    with pytest.raises(OutputError, match="malformed"):
        revive(place.folder, 0.0)


def test_a_spool_of_another_schema_is_not_looked_at(place: Place) -> None:
    place.store.close()
    with closing(sqlite3.connect(place.folder / "spool.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(OutputError, match="schema 9"), read_only(place.folder):
        pass
    with pytest.raises(OutputError, match="schema 9"):
        revive(place.folder, 0.0)
