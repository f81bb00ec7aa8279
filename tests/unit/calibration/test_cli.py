"""``scanside calibrate`` as its user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

import command
import labelled
from scanside import open_bundle
from scanside.bundle import write_bundle
from scanside_calibration import cli, material
from scanside_calibration.cli import calibrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done
    from labelled import Labelled


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return labelled.write(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    toy_path: Path,
    data: Labelled,
) -> Callable[..., Done]:
    """Run the command on the toy bundle and slices with further words."""
    call = command.caller(monkeypatch, capfd)
    return lambda *words: call("calibrate", toy_path, "--data", data.folder, *words)


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let toy slices pass as a scanner's."""
    monkeypatch.setattr(material, "refuse_artificial", lambda *_: None)


def test_help_needs_only_the_core() -> None:
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxruntime', 'sympy', 'tensorflow'):\n"
        "    sys.modules[name] = None\n"
        "from scanside_calibration.cli import calibrate\n"
        "calibrate.main(['--help'], prog_name='scanside calibrate')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "BUNDLE2" in done.stdout
    assert "--max-drop" in done.stdout


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_the_install_command_is_said(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = cli.find_spec
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == missing else real(name))
    done = run("--output", tmp_path / "out")
    assert done.code == 8
    assert f"needs {missing}" in done.err
    assert "pip install 'scanside[calibrate]'" in done.err


def test_the_default_number_of_slices_is_the_materials() -> None:
    (option,) = (each for each in calibrate.params if each.name == "slices")
    assert option.default == material.SLICES


@pytest.mark.usefixtures("drawings")
def test_a_bundle_is_written_and_told_of(
    run: Callable[..., Done], data: Labelled, tmp_path: Path
) -> None:
    done = run(
        "--output", tmp_path / "out", "--split", data.split, "--method", "max", "--slices", 32,
        "--report", tmp_path / "report.json", "--drop", "fp32", "--max-drop", "dice=0.5,auc=0.5",
        "--sensitivity",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "accuracy guard" in done.out
    assert "at most 0.5" in done.out
    assert done.out.endswith("toy 1 with int8 (default int8)\n")
    manifest = open_bundle(tmp_path / "out").manifest
    assert manifest.guards["int8"].limits["dice_drop"] == 0.5
    assert manifest.provenance.command.endswith(
        "scanside calibrate bundle --data slices --output out --split split.json --drop fp32"
        " --method max --slices 32 --max-drop dice=0.5 --max-drop auc=0.5 --sensitivity"
        " --report report.json"
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schema"] == "scanside.calibration/1"
    assert report["sensitivity"]["classifier"]
    assert {trial["method"].split(",")[0] for trial in report["methods"]} == {"max"}


@pytest.mark.usefixtures("drawings")
def test_a_refusal_leaves_its_report_and_no_bundle(
    run: Callable[..., Done], data: Labelled, tmp_path: Path
) -> None:
    done = run(
        "--output", tmp_path / "out", "--split", data.split, "--method", "percentile",
        "--slices", 32, "--report", tmp_path / "report.json", "--min-agreement", "p5=1,mean=1",
    )  # fmt: skip
    assert done.code == 5, done.err
    assert "does not hold (agreement_mean" in done.err
    assert "FAIL" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["guard"]["int8"][-1]["passed"] is False


def test_without_a_split_it_is_said(run: Callable[..., Done], tmp_path: Path) -> None:
    done = run("--output", tmp_path / "out")
    assert "no --split" in done.err
    assert done.code == 3, "toy slices are drawings"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--max-drop", "dise=0.1"], 2, "dice, auc, sensitivity"),
        (["--max-drop", "dice"], 2, "NAME=VALUE"),
        (["--max-drop", "dice=nan"], 2, "from 0 to 1"),
        (["--max-drop", "dice=0.1,dice=0.2"], 2, "each once"),
        (["--min-agreement", "dice=0.1"], 2, "mean, p5"),
        (["--method", "best"], 2, "percentile"),
        (["--method", "max", "--precision", "fp16"], 2, "--method: for --precision int8"),
        (["--precision", "fp32"], 2, "int8"),
        (["--slices", "31"], 2, "32 slices or more"),
        (["--split", "nowhere.json"], 2, "nowhere.json"),
    ],
)
def test_wrong_options_are_refused(
    run: Callable[..., Done], tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    done = run("--output", tmp_path / "out", *words)
    assert done.code == code
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_refused_before_any_work(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanside.cli.indexing.index", pytest.fail)
    (tmp_path / "out").mkdir()
    done = run("--output", tmp_path / "out")
    assert done.code == 9
    assert "exists already" in done.err


def test_a_bundle_of_another_hash_is_refused(run: Callable[..., Done], tmp_path: Path) -> None:
    done = run("--output", tmp_path / "out", "--bundle-sha256", "0" * 64)
    assert done.code == 4


def test_a_precision_that_is_there_is_not_made_again(
    tmp_path: Path, toy_path: Path, data: Labelled
) -> None:
    source = open_bundle(toy_path)
    held = source.manifest
    files = {entry.file: source.read(field) for field, entry in held.files().items()}
    models = {
        role: {"fp16": file["fp32"], "fp32": file["fp32"]} for role, file in held.models.items()
    }
    for role, file in models.items():
        name = f"{role}.fp16.onnx"
        files[name] = files[file["fp32"].file]
        file["fp16"] = msgspec.structs.replace(file["fp32"], file=name)
    golden = msgspec.structs.replace(
        held.golden,
        tolerances={"fp32": held.golden.tolerances["fp32"], "fp16": held.golden.tolerances["fp32"]},
    )
    manifest = msgspec.structs.replace(held, models=models, golden=golden)
    both = write_bundle(tmp_path / "both", manifest, files)
    with pytest.raises(Exception, match="holds fp16 already"):
        calibrate.main(
            [str(both.path), "--data", str(data.folder), "--output", str(tmp_path / "out"),
             "--precision", "fp16"],
            standalone_mode=False,
        )  # fmt: skip
