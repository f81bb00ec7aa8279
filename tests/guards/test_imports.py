"""`import scanside` stays light, and every command's help needs only the core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scanside.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = (
    "tensorflow",
    "keras",
    "torch",
    "tf2onnx",
    "click",
    "rich",
    "matplotlib",
    "onnx",
    "openvino",
)

CPU_SECONDS_BEYOND_DEPENDENCIES = 0.25

PROBE = """
import json, sys, time
import cv2, numpy, onnxruntime
before = time.process_time()
import scanside
spent = time.process_time() - before
print(json.dumps({"spent": spent, "modules": sorted({m.split(".")[0] for m in sys.modules})}))
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_loads_nothing_heavy_and_is_quick() -> None:
    found = json.loads(python(PROBE))
    assert not set(HEAVY) & set(found["modules"])
    assert found["spent"] < CPU_SECONDS_BEYOND_DEPENDENCIES


def test_import_does_not_need_onnxruntime() -> None:
    loaded = python("import scanside, sys; print('onnxruntime' in sys.modules)")
    assert loaded.strip() == "False"


def commands() -> list[list[str]]:
    """Every command and every command of a group, as a user would type it."""
    import click

    context = click.Context(cli)
    found = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, inner] for inner in command.list_commands(context)]
    return found


@pytest.mark.parametrize("words", [[], *commands()], ids=" ".join)
def test_help_works_with_only_the_core_installed(words: list[str]) -> None:
    """The imports of everything that an extra brings are made to fail."""
    extras = (
        "tensorflow",
        "keras",
        "torch",
        "tf2onnx",
        "onnx",
        "onnxruntime",
        "matplotlib",
        "openvino",
        "mlperf_loadgen",
    )
    code = f"""
import sys
for name in {extras!r}:
    sys.modules[name] = None
from scanside.cli.main import cli
cli.main({[*words, "--help"]!r}, prog_name="scanside", standalone_mode=False)
"""
    shown = python(code)
    assert shown.startswith(f"Usage: scanside{''.join(f' {word}' for word in words)}")
    assert len(shown.splitlines()) > 3


def test_nothing_is_left_for_anybodys_telemetry(tmp_path: Path) -> None:
    """ONNX Runtime 1.29 and later leave an identifier and a queue of events in the user's cache."""
    home = tmp_path / "home"
    home.mkdir()
    unset = {"ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "XDG_CACHE_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    code = "import scanside; scanside.Pipeline.open(scanside.open_bundle(), backend='cpu').close()"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**kept, "HOME": str(home), "SCANSIDE_CACHE": str(tmp_path / "cache")},
    )
    assert list(home.rglob("*")) == []
