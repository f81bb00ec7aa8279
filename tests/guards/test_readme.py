"""The README's commands run as they are written, in the order in which they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from scanside.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

NEEDS_TRAINING = {"train", "export", "evaluate", "calibrate", "build", "bench", "compare"}
"""They take hours, extras or a quiet machine: their options are parsed; other tests run them."""


def lines(start: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith(f"$ {start} ")]


def words(line: str) -> list[str]:
    return shlex.split(line.split("#", maxsplit=1)[0])[1:]


def test_every_make_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [words(line)[0] for line in lines("make")]
    assert {"demo", "test"} <= set(named) <= targets


def test_the_commands_run(
    scanside: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scanside("data", "phantom", "slices", "--patients", 3, "--slices", 5).code == 0
    shutil.copy(next(Path("slices").rglob("*_2.png")), "slice.png")
    commands = [words(line) for line in lines("scanside")]
    done = {command[0] for command in commands} - NEEDS_TRAINING
    assert {"run", "verify", "info", "data"} <= done
    for command in commands:
        if command[0] not in NEEDS_TRAINING:
            result = scanside(*command)
            assert result.code == 0, (command, result.err)


@pytest.mark.parametrize("line", [x for x in lines("scanside") if words(x)[0] in NEEDS_TRAINING])
def test_the_options_of_the_others_exist(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = words(line)
    for word in arguments[1:]:
        if "." in word and not word.startswith("-"):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
        elif re.fullmatch(r"[a-z]+", word):
            Path(word).mkdir(exist_ok=True)
    command = cli.get_command(click.Context(cli), arguments[0])
    assert command is not None
    command.make_context(arguments[0], arguments[1:])


def test_every_figure_names_its_command() -> None:
    """A table of figures stands below a line that names the command they come from."""
    tables = re.findall(r"((?:^\|.*\n)+)", README, re.MULTILINE)
    measured = [table for table in tables if re.search(r"\d\.\d", table)]
    for table in measured:
        before = README[: README.index(table)].rstrip().splitlines()[-6:]
        assert "`" in " ".join(before), table.splitlines()[0]
