from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from scanside.errors import OutputError
from scanside.writers.files import OutputFolder, write_atomic

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b.txt", b"content")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"content"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_what_a_run_writes_only_its_owner_can_read(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.open_results().close()
    folder.write("masks/a_mask.png", b"png")
    folder.close()
    files = [folder.results, folder.path / "masks" / "a_mask.png"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a", b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_results_of_an_earlier_run_are_never_mixed_with_new_ones(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.results.write_bytes(b"{}\n")
    folder.write("masks/a_mask.png", b"png")
    folder.close()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds results\.jsonl, masks already.*--overwrite"):
        OutputFolder(tmp_path / "out")
    again = OutputFolder(tmp_path / "out", overwrite=True)
    assert again.results.exists()
    again.clear()
    again.close()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out"):
        OutputFolder(tmp_path / "out")


def test_folders_that_no_run_has_made_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    with pytest.raises(OutputError, match=r"holds masks already.*move them away"):
        OutputFolder(tmp_path, overwrite=True)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    first = OutputFolder(tmp_path)
    with pytest.raises(OutputError, match="another run is writing"):
        OutputFolder(tmp_path, overwrite=True)
    first.close()
    OutputFolder(tmp_path).close()
