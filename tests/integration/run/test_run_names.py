"""`scanside run` on names of files that are no text, or that would steer a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import toy
from slicefiles import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]

STEERING = "a\x1b[2J\n\r\x9b31m\u202eb"
"""ESC, newline, return, CSI of C1, and a character that turns the direction of writing."""

SHOWN = r"a\x1b[2J\n\r\x9b31m\u202eb"

NO_TEXT = os.fsdecode(b"\xff\xfe" * 50)
"""A name of 100 bytes, none of which is UTF-8."""


@pytest.fixture
def run(scanside: Command, toy_path: Path) -> Command:
    """`scanside run` with the toy bundle on the CPU."""

    def call(*words: object) -> Done:
        return scanside("run", *words, "--bundle", toy_path, "--backend", "cpu")

    return call


def steers(text: str) -> bool:
    """Tell whether a line of text could move a terminal's cursor, beside its ends of lines."""
    return any(not character.isprintable() for character in text.replace("\n", ""))


def test_a_name_that_steers_a_terminal_is_escaped(run: Command, tmp_path: Path) -> None:
    folder = tmp_path / STEERING
    save(folder / "s.png", toy.lesion_slice(2))
    (folder / "empty.png").write_bytes(b"")
    done = run(folder, "--format", "text", "--output", tmp_path / f"out{STEERING}")
    assert done.code == 3
    assert not steers(done.out + done.err)
    assert SHOWN in done.out  # the study's row
    assert f"out{SHOWN}/results.jsonl" in done.err
    records = run(folder).records
    assert records[-2]["source"] == str(folder), "JSON holds the name as it is"


@pytest.mark.parametrize(
    ("words", "code"),
    [((STEERING,), 3), ((".", f"--{STEERING}"), 2), ((".", "--pre", STEERING), 2)],
)
def test_what_ends_the_command_is_told_escaped(
    scanside: Command, words: tuple[str, ...], code: int
) -> None:
    done = scanside("run", *words)
    assert done.code == code
    assert not steers(done.err)


def test_a_defect_is_told_escaped(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError(STEERING)

    monkeypatch.setattr("scanside.runner.prepare", broken)
    done = run(save(tmp_path / "s.png", toy.lesion_slice(2)))
    assert done.code == 70
    assert not steers(done.err)
    assert "Traceback (most recent call last):\n" in done.err


def test_series_are_explained_escaped(scanside: Command, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    import studies

    study = studies.write(tmp_path / STEERING, studies.slices(4))
    (study / "series_1" / f"{STEERING}.dcm").write_bytes(b"\0" * 128 + b"DICM")
    done = scanside("run", study, "--explain")
    assert done.code == 3
    assert not steers(done.out)
    assert done.out.splitlines()[0] == f"{tmp_path}/{SHOWN}"


def test_a_name_that_is_no_text_is_as_good_as_any(run: Command, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are written as four characters each: too many for a name."""
    folder = tmp_path / "in" / NO_TEXT
    save(tmp_path / "x.png", toy.lesion_slice(2))
    save(tmp_path / "in" / "b" / "s.png", toy.lesion_slice(2))
    for number, place in enumerate((folder, folder / "1", folder / NO_TEXT / NO_TEXT)):
        os.makedirs(place, exist_ok=True)  # noqa: PTH103
        (place / f"{NO_TEXT}{number}.png").write_bytes((tmp_path / "x.png").read_bytes())
    out = tmp_path / "out"
    done = run(tmp_path / "in", "--output", out, "--page")
    assert done.code == 0, done.err
    assert len(done.slices) == 4
    pictures = [record[kind] for record in done.slices for kind in ("mask", "overlay")]
    assert len(set(pictures)) == 8
    assert all((out / name).is_file() for name in pictures)
    assert r"\xff\xfe" in done.slices[0]["source"] + done.slices[1]["source"]
    assert r"\xff\xfe" in (out / "index.html").read_text(encoding="utf-8")
    told = run(tmp_path / "in", "--output", tmp_path / NO_TEXT, "--format", "text")
    assert told.code == 0, told.err
    assert r"\xff\xfe" in told.out
    assert rf"{tmp_path}/\xff\xfe" in told.err


def test_a_path_as_long_as_can_be(run: Command, tmp_path: Path) -> None:
    """Four characters a byte make it longer than any path may be."""
    deep = tmp_path / "in" / "/".join([os.fsdecode(b"\xff" * 40)] * 60)
    deep.mkdir(parents=True)
    save(tmp_path / "in" / "x.png", toy.lesion_slice(2)).rename(deep / "x.png")
    save(tmp_path / "in" / "s.png", toy.lesion_slice(2))
    done = run(tmp_path / "in", "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert all((tmp_path / "out" / record["mask"]).is_file() for record in done.slices)


def test_named_series_may_have_names_that_are_no_text(run: Command, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    import studies

    study = studies.write(tmp_path / NO_TEXT, studies.slices(4))
    done = run("--flair", study / "series_2", "--fill-missing", "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert r"\xff\xfe" in done.slices[0]["source"]


def test_a_note_that_is_no_text_is_refused(run: Command, tmp_path: Path) -> None:
    image = save(tmp_path / "s.png", toy.lesion_slice(2))
    done = run(image, "--output", tmp_path / "out", "--page", "--note", NO_TEXT)
    assert done.code == 2
    assert "--note" in done.err
