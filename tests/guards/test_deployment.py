"""Units and the container file: they start what there is, and the units stay closed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from scanside.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
STARTS = [
    (file.name, command)
    for file in [*UNITS, *sorted(DEPLOY.glob("*.conf"))]
    for command in re.findall(r"^Exec\w+=(/\S.*)$", file.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("file", "command"), STARTS)
def test_what_a_unit_starts_exists(file: str, command: str) -> None:
    program, name, *words = shlex.split(command)
    assert program == "/opt/scanside/bin/scanside", file
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    options = {option for each in found.params for option in each.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_systemd_takes_a_unit_and_finds_it_closed(unit: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in said if unit.name in line], said
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"exposure level for .*: ([0-9.]+)", done.stdout)
    if level is None:
        pytest.skip(f"this systemd does not judge units offline: {done.stderr.strip()}")
    assert float(level[1]) <= 2.0


def test_the_container_installs_extras_that_there_are() -> None:
    text = (DEPLOY / "Containerfile.l4t").read_text()
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", text)
    declared = (ROOT / "pyproject.toml").read_text()
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", declared, re.MULTILINE), extra


def test_the_container_is_given_what_the_package_is_built_from() -> None:
    text = (DEPLOY / "Containerfile.l4t.dockerignore").read_text()
    given = re.findall(r"^!(.+)$", text, re.MULTILINE)
    assert all((ROOT / name).exists() for name in given)
    declared = (ROOT / "pyproject.toml").read_text()
    (packages,) = re.findall(r"^packages = \[\n(.+?)\]", declared, re.MULTILINE | re.DOTALL)
    tops = {name.partition("/")[0] for name in re.findall(r'"([^"]+)"', packages)}
    assert tops < set(given)
    assert {"pyproject.toml", "README.md", "LICENSE"} < set(given)


def test_what_was_not_run_on_a_gpu_says_so() -> None:
    for name in ("scanside-serve-gpu.conf", "Containerfile.l4t", "scanside-serve.service"):
        assert re.search(r"not run", (DEPLOY / name).read_text(), re.IGNORECASE), name
