from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.errors import InputError
from scanside.readers.discover import discover, natural_key


def fill(folder: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def names(found: Any, folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in found.files]


def test_numbers_in_names_count_as_numbers(tmp_path: Path) -> None:
    fill(tmp_path, "s10.png", "s2.png", "s1.png", "b/10.tif", "b/9.tif", "a12/1.jpg", "a2/1.jpg")
    assert names(discover([tmp_path]), tmp_path) == [
        *("s1.png", "s2.png", "s10.png"),
        *("a2/1.jpg", "a12/1.jpg", "b/9.tif", "b/10.tif"),
    ]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=12)))
def test_natural_order_is_total(texts: list[str]) -> None:
    once = sorted(texts, key=natural_key)
    other = texts[::-1]
    other.sort(key=natural_key)
    assert once == other


def test_suffix_or_content_makes_an_input(build: Any, picture: Any, tmp_path: Path) -> None:
    fill(tmp_path, "a.PNG", "b.tif", "c.Tiff", "d.jpg", "e.jpeg", "f.webp")
    fill(tmp_path, "IM0001", "IM0002.dat", content=build.png(picture, 2))
    fill(tmp_path, "notes.txt", "list.csv", content=b"a,b\n")
    fill(tmp_path, "scan.dcm", content=bytes(128) + b"DICM")
    fill(tmp_path, "nothing", content=b"")
    found = discover([tmp_path])
    assert sorted(names(found, tmp_path)) == [
        *("IM0001", "IM0002.dat", "a.PNG", "b.tif", "c.Tiff", "d.jpg", "e.jpeg", "f.webp")
    ]
    assert found.left_out == {"text files": 2, "DICOM files": 1, "empty files": 1}
    assert found.unreadable == ()


def test_files_with_an_image_suffix_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, *(f"{n}.png" for n in range(300)))

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("opened")

    monkeypatch.setattr(Path, "open", refuse)
    assert len(discover([tmp_path]).files) == 300


def test_masks_beside_their_slices_are_left_out(build: Any, picture: Any, tmp_path: Path) -> None:
    fill(tmp_path, "s1.webp", "s1_mask.png", "s2.tif", "s2_mask.tif", "s3_mask.png", "_mask.png")
    fill(tmp_path, "other/s1_mask.png")
    fill(tmp_path, "s4.txt", "s4_mask.png")
    fill(tmp_path, "IM5", "IM5_mask", content=build.png(picture, 2))
    found = discover([tmp_path])
    assert names(found, tmp_path) == [
        *("IM5", "_mask.png", "s1.webp", "s2.tif", "s3_mask.png", "s4_mask.png"),
        "other/s1_mask.png",
    ]
    assert found.left_out == {"masks of slices": 3, "text files": 1}


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "._a.png", ".cache/b.png", ".cache/c.png")
    found = discover([tmp_path])
    assert names(found, tmp_path) == ["a.png"]
    assert found.left_out == {"hidden files and folders": 2}


def test_named_files_are_inputs_whatever_they_are(tmp_path: Path) -> None:
    fill(tmp_path, "notes.txt", ".hidden.png", "s1.png", "s1_mask.png", "locked")
    os.mkfifo(tmp_path / "fifo")
    named = [tmp_path / n for n in ("notes.txt", "s1_mask.png", ".hidden.png", "fifo", "s1.png")]
    found = discover(named)
    assert list(found.files) == named
    assert found.left_out == {}


def test_the_same_file_is_an_input_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.png", "sub/b.png", "sub/c.png")
    (tmp_path / "sub" / "link.png").symlink_to("../a.png")
    os.link(tmp_path / "a.png", tmp_path / "hard.png")
    monkeypatch.chdir(tmp_path)
    one = Path("sub/b.png")
    found = discover([one, one, tmp_path / "sub" / ".." / "sub" / "b.png", tmp_path])
    assert found.files == (
        one,
        *(tmp_path / name for name in ("a.png", "hard.png", "sub/c.png")),
    )
    assert found.left_out == {"files given twice": 4}
    again = discover([tmp_path, tmp_path / "sub", tmp_path])
    assert names(again, tmp_path) == ["a.png", "hard.png", "sub/b.png", "sub/c.png"]
    assert again.left_out == {"files given twice": 1, "folders reached a second time": 2}


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    fill(tmp_path, "data/a.png", "elsewhere/b.png")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "up").symlink_to("../data/loop")
    (tmp_path / "data" / "out").symlink_to("../elsewhere")
    found = discover([tmp_path / "data"])
    assert names(found, tmp_path / "data") == ["a.png", "out/b.png"]
    assert found.left_out == {"folders reached a second time": 2}


def test_special_files_and_broken_links_in_folders(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "broken.png").symlink_to("gone.png")
    found = discover([tmp_path])
    assert names(found, tmp_path) == ["a.png"]
    assert found.left_out == {"special files and broken links": 2}
    (tmp_path / "self.png").symlink_to("self.png")
    loop = discover([tmp_path])
    assert [path.name for path, _ in loop.unreadable] == ["self.png"]


def test_unreadable_parts_of_a_folder_are_reported_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a.png", "closed/b.png", "locked.dat", "open/c.png")
    scandir, opening = os.scandir, Path.open

    def guarded(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def guarded_open(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "locked.dat":
            raise PermissionError(13, "Permission denied", str(path))
        return opening(path, *args, **options)

    monkeypatch.setattr(os, "scandir", guarded)
    monkeypatch.setattr(Path, "open", guarded_open)
    found = discover([tmp_path])
    assert names(found, tmp_path) == ["a.png", "open/c.png"]
    assert found.unreadable == (
        (tmp_path / "locked.dat", "Permission denied"),
        (tmp_path / "closed", "Permission denied"),
    )
    with pytest.raises(InputError, match="closed: cannot be read .Permission denied"):
        discover([tmp_path / "closed"])


def test_inputs_that_do_not_exist(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "broken.png").symlink_to("gone.png")
    (tmp_path / "self.png").symlink_to("self.png")
    for name in ("gone", "gone.png", "broken.png", "self.png", "a.png/b.png"):
        with pytest.raises(InputError, match=f"{name}: cannot be read") as error:
            discover([tmp_path / name])
        assert error.value.remedy
        beside = discover([tmp_path / "a.png", tmp_path / name])
        assert beside.files == (tmp_path / "a.png",)
        ((path, reason),) = beside.unreadable
        assert path == tmp_path / name
        assert "cannot be read" in reason


def test_pictures_of_an_earlier_run_are_no_slices(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "out/results.jsonl", "out/masks/a_mask.png", "out/overlays/a.png")
    fill(tmp_path, "masks/b.png")
    found = discover([tmp_path])
    assert [path.name for path in found.files] == ["a.png", "b.png"]
    assert found.left_out["folders of pictures of an earlier run"] == 2
    (tmp_path / "results.jsonl").touch()
    assert [path.name for path in discover([tmp_path]).files] == ["a.png"]


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(InputError, match=r"empty: there is no image in this folder \(it is empty"):
        discover([tmp_path / "empty"])
    fill(tmp_path, "study/1.dcm", "study/2.dcm", content=bytes(128) + b"DICM")
    with pytest.raises(InputError, match=r"study: there is no image .*\(2 DICOM files\)"):
        discover([tmp_path / "study"])


def test_deep_folders(tmp_path: Path) -> None:
    fill(tmp_path.joinpath(*["d"] * 150), "a.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = discover([tmp_path])
    finally:
        sys.setrecursionlimit(limit)
    assert len(found.files) == 1


def test_whole_dataset(data_root: Path) -> None:
    found = discover([data_root / "lgg"])
    assert len(found.files) == 2986
    assert found.left_out == {"masks of slices": 1049}
    assert found.unreadable == ()
    first = [path.name for path in found.files[:12]]
    assert first == [f"TCGA_CS_4941_19960909_{n}.webp" for n in range(1, 13)]
