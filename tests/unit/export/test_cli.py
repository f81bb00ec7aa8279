from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Scanside = Callable[..., Done]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files that are there and are no models."""
    for name in ("c.keras", "s.keras", "licence.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "golden").mkdir()
    return tmp_path


@pytest.fixture
def command(files: Path) -> list[object]:
    """Everything that is required but thresholds."""
    return [
        "export", files / "c.keras", files / "s.keras", "--output", files / "out",
        "--golden", files / "golden",
    ]  # fmt: skip


BY_HAND = ["--gate", "0.3", "--decision", "0.9", "--mask", "0.5", "--chosen", "by hand"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the train extra were there."""
    monkeypatch.setattr("scanside_export.cli._require", lambda package: None)  # noqa: ARG005


def test_help_needs_only_the_core() -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'tf2onnx', 'onnx', 'onnxruntime'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = ['scanside', 'export', '--help']\n"
        "from scanside.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CLASSIFIER.keras" in done.stdout
    assert "--thresholds" in done.stdout


def test_without_the_extra_the_install_command_is_said(
    scanside: Scanside, command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    done = scanside(*command, *BY_HAND)
    assert done.code == 8
    assert "pip install 'scanside[train]'" in done.err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--license-name", "x"], "a part of the licence"),
        ([*BY_HAND, "--batch", "2,2,8"], "accepted: 1,OPT,MAX"),
        ([*BY_HAND, "--batch", "1,8"], "accepted: 1,OPT,MAX"),
        (["--gate", "0.3"], "no thresholds and --gate"),
        ([*BY_HAND[:4]], "--gate and --decision"),
        ([*BY_HAND[:6]], "--gate and --decision and --mask"),
        (["--gate", "1.3", *BY_HAND[2:]], "$.gate"),
        (["--gate", "0.95", *BY_HAND[2:]], "decision (0.9) is below gate (0.95)"),
    ],
)
def test_what_is_said_of_a_bundle_is_checked(
    scanside: Scanside, command: list[object], options: list[str], said: str
) -> None:
    done = scanside(*command, *options)
    assert done.code == 2
    assert said in done.err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ('{"gate": 0.3}', "missing required field"),
        ('{"gate": 0.3, "decision": 0.9, "mask": 2, "chosen": ""}', "$.mask"),
        ('{"gate": 0.3, "decision": 0.9, "mask": 0.5, "chosen": "", "x": 1}', "unknown field"),
    ],
)
def test_a_file_of_thresholds_is_checked(
    scanside: Scanside, command: list[object], files: Path, content: str, said: str
) -> None:
    (files / "t.json").write_text(content)
    done = scanside(*command, "--thresholds", files / "t.json")
    assert done.code == 2
    assert said in done.err


@pytest.mark.usefixtures("installed")
def test_a_file_and_options_at_once_are_refused(
    scanside: Scanside, command: list[object], files: Path
) -> None:
    (files / "t.json").write_text("{}")
    done = scanside(*command, "--thresholds", files / "t.json", "--gate", "0.3")
    assert done.code == 2
    assert "--thresholds and --gate" in done.err


@pytest.mark.usefixtures("installed")
def test_an_output_that_exists_is_refused_at_once(
    scanside: Scanside, command: list[object], files: Path
) -> None:
    (files / "out").mkdir()
    done = scanside(*command, *BY_HAND)
    assert done.code == 9
    assert "exists already" in done.err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["Brain Tumour", "-x", "a" * 65])
def test_a_name_that_no_bundle_may_have_is_refused(
    scanside: Scanside, command: list[object], name: str
) -> None:
    done = scanside(*command, *BY_HAND, f"--name={name}")
    assert done.code == 2
    assert "--name" in done.err


@pytest.mark.usefixtures("installed")
def test_metrics_that_are_no_json_are_refused(
    scanside: Scanside, command: list[object], files: Path
) -> None:
    (files / "metrics.json").write_text("[1]")
    done = scanside(*command, *BY_HAND, "--metrics", files / "metrics.json")
    assert done.code == 2
    assert "scanside evaluate" in done.err


def test_a_missing_model_is_a_wrong_call(scanside: Scanside, files: Path) -> None:
    done = scanside("export", files / "nothing.keras", files / "s.keras", "--output", "x")
    assert done.code == 2
    assert "nothing.keras" in done.err
