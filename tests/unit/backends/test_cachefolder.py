from __future__ import annotations

import logging
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside import cachefolder
from scanside.cachefolder import cache_folder, entry_key, read_entry, write_entry

CONTENT = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the user's own cache, or what another test had said."""
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    cachefolder._say_once.cache_clear()


def folder() -> Path:
    found = cache_folder("some")
    assert found is not None
    return found


def files(where: Path, suffix: str) -> list[Path]:
    return sorted(path for path in where.iterdir() if path.suffix == suffix)


def test_it_is_made_for_this_user_alone(tmp_path: Path) -> None:
    assert folder() == tmp_path / "cache" / "some"
    for made in (tmp_path / "cache", tmp_path / "cache" / "some"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("scanside", "xdg", "wanted"),
    [
        ("own", "/xdg", "{cwd}/own"),
        (None, "{tmp}/xdg", "{tmp}/xdg/scanside"),
        (None, "relative", "{tmp}/home/.cache/scanside"),
        (None, "", "{tmp}/home/.cache/scanside"),
        (None, None, "{tmp}/home/.cache/scanside"),
    ],
)
def test_where_it_lies(
    scanside: str | None, xdg: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    places = {"tmp": str(tmp_path), "cwd": str(tmp_path)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in (("SCANSIDE_CACHE", scanside), ("XDG_CACHE_HOME", xdg)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value.format(**places))
    assert cache_folder() == Path(wanted.format(**places))


def test_where_none_can_be_made_caching_is_off_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "file" / "cache"))
    assert cache_folder("some") is None
    assert cache_folder("some") is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "caching is off" in record.message
    assert "SCANSIDE_CACHE" in record.message
    assert read_entry(None, "key") is None
    assert write_entry(None, "key", CONTENT) is False


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_off(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    assert cache_folder() is None


def test_a_folder_of_another_user_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    where = folder()
    write_entry(where, "key", CONTENT)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert cache_folder("some") is None
    assert "belongs to user" in caplog.text
    assert read_entry(where, "key") is None
    assert write_entry(where, "other", CONTENT) is False


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(mode: int) -> None:
    where = folder()
    where.chmod(mode)
    assert cache_folder("some") is None
    assert write_entry(where, "key", CONTENT) is False


def test_an_entry_that_others_may_write_to_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    where = folder()
    write_entry(where, "key", CONTENT)
    files(where, ".bin")[0].chmod(0o666)
    assert read_entry(where, "key") is None
    assert "others may write" in caplog.text


@given(content=st.binary(max_size=4096), about=st.dictionaries(st.text(), st.text(), max_size=3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, about: dict[str, str]
) -> None:
    where = tmp_path_factory.mktemp("entries")
    assert write_entry(where, "key", content, about) is True
    assert read_entry(where, "key") == content
    assert read_entry(where, "other") is None
    assert len(list(where.iterdir())) == 2


def test_an_entry_is_replaced_whole() -> None:
    where = folder()
    for content in (CONTENT, b"", CONTENT[:100]):
        write_entry(where, "key", content)
        assert read_entry(where, "key") == content


@given(at=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    where = tmp_path_factory.mktemp("entries")
    write_entry(where, "key", CONTENT)
    damaged = bytearray(CONTENT)
    damaged[at] ^= 1 << bit
    (where / "key.bin").write_bytes(damaged)
    assert read_entry(where, "key") is None


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[:0], lambda c: c + b"\0"])
@pytest.mark.parametrize("suffix", [".bin", ".json"])
def test_a_file_of_another_length_is_found_and_said(
    suffix: str, change: object, caplog: pytest.LogCaptureFixture
) -> None:
    where = folder()
    write_entry(where, "key", CONTENT)
    (file,) = files(where, suffix)
    # The closing brace, not only the newline behind it.
    before = file.read_bytes().rstrip(b"\n") if suffix == ".json" else file.read_bytes()
    file.write_bytes(change(before))  # type: ignore[operator]
    assert read_entry(where, "key") is None
    assert "not used" in caplog.text
    assert write_entry(where, "key", CONTENT) is True
    assert read_entry(where, "key") == CONTENT


@pytest.mark.parametrize(
    "sidecar", [b"[]", b"{}", b"\xff", b'{"key": "key", "sha256": "0", "size": -5, "about": {}}']
)
def test_a_sidecar_that_is_none_is_found(sidecar: bytes) -> None:
    where = folder()
    write_entry(where, "key", CONTENT)
    (where / "key.json").write_bytes(sidecar)
    assert read_entry(where, "key") is None


@pytest.mark.parametrize("lost", ["key.bin", "key.json"])
def test_half_an_entry_is_none(lost: str) -> None:
    where = folder()
    write_entry(where, "key", CONTENT)
    (where / lost).unlink()
    assert read_entry(where, "key") is None


def test_an_entry_under_the_name_of_another_is_refused() -> None:
    where = folder()
    write_entry(where, "one", CONTENT)
    for suffix in (".bin", ".json"):
        (where / f"one{suffix}").rename(where / f"two{suffix}")
    assert read_entry(where, "two") is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    where = folder()
    write_entry(where, "key", CONTENT)
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    (where / "key.bin").unlink()
    (where / "key.bin").symlink_to(tmp_path / "elsewhere")
    assert read_entry(where, "key") is None


def test_a_pipe_does_not_hold_up_who_reads() -> None:
    where = folder()
    write_entry(where, "key", CONTENT)
    (where / "key.bin").unlink()
    os.mkfifo(where / "key.bin", 0o600)
    assert read_entry(where, "key") is None


def test_what_cannot_be_written_is_said_once_and_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    where = Path("/proc/self")  # this user's own, and nothing can be written there
    assert write_entry(where, "key", CONTENT) is False
    assert write_entry(where, "key", CONTENT) is False
    assert len(caplog.records) == 1


def test_a_write_that_fails_leaves_the_earlier_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    where = folder()
    write_entry(where, "key", CONTENT)

    def full(*_: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert write_entry(where, "key", b"newer") is False
    monkeypatch.undo()
    assert read_entry(where, "key") == CONTENT
    assert len(list(where.iterdir())) == 2


@pytest.mark.parametrize("key", ["", "../up", "a/b", ".hidden", "a\0b", "a" * 300])
def test_a_key_that_is_no_name_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is no key"):
        read_entry(folder(), key)
    with pytest.raises(ValueError, match="is no key"):
        write_entry(folder(), key, CONTENT)


def test_a_key_tells_every_part_apart() -> None:
    keys = [
        entry_key(a="1", b="2"), entry_key(a="2", b="1"), entry_key(a="12"), entry_key(ab="12"),
        entry_key(a="1"), entry_key(),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert entry_key(b="2", a="1") == keys[0]


def _write_many(where: Path, letter: int) -> None:
    for _ in range(60):
        write_entry(where, "key", bytes([letter]) * 100_000)


def test_concurrent_writers_never_mix(caplog: pytest.LogCaptureFixture) -> None:
    where = folder()
    write_entry(where, "key", b"a" * 100_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(where, letter)) for letter in b"abc"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        content = read_entry(where, "key")
        assert content is not None
        assert len(content) == 100_000
        seen.update(content)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= set(b"abc")
    assert not caplog.records
    assert len(list(where.iterdir())) == 2


def test_an_empty_variable_turns_caching_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANSIDE_CACHE", "")
    assert cache_folder("choices") is None
