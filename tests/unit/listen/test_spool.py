from __future__ import annotations

import sqlite3
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from scanside.errors import OutputError
from scanside.listen.spool import SpoolFullError
from scanside.listen.store import Store, read_only, revive
from spools import Place

if TYPE_CHECKING:
    from pathlib import Path


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
    connection = read_only(place.folder)
    assert connection.execute("SELECT count(*) FROM instance").fetchone() == (1,)
    with pytest.raises(Exception, match="readonly"):
        connection.execute("DELETE FROM instance")
    connection.close()
    with pytest.raises(OutputError, match="there is no spool"):
        read_only(tmp_path / "absent")
    with pytest.raises(OutputError, match="there is no spool"):
        revive(tmp_path / "absent", 0.0)
