"""`scanside run`: bundles, backends and outputs that can't be used, each with its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import toy
from command import SCRIPT, interrupted
from slicefiles import save

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

    Command = Callable[..., Done]


def test_a_missing_bundle_is_4(scanside: Command, folder: Path, tmp_path: Path) -> None:
    done = scanside("run", folder, "--bundle", tmp_path / "none")
    assert done.code == 4
    assert "no bundle is there" in done.err


def test_a_bundle_that_is_not_the_pinned_one_is_4(
    scanside: Command, toy_path: Path, folder: Path
) -> None:
    done = scanside("run", folder, "--bundle", toy_path, "--bundle-sha256", "0" * 64)
    assert done.code == 4


def test_a_backend_that_is_not_here_is_8(scanside: Command, toy_path: Path, folder: Path) -> None:
    done = scanside("run", folder, "--bundle", toy_path, "--backend", "tensorrt")
    assert done.code == 8
    assert done.out == ""


def test_an_output_that_cannot_be_made_is_9(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = scanside("run", folder, "--bundle", toy_path, "--output", tmp_path / "file" / "out")
    assert done.code == 9
    assert done.out == ""


def test_a_read_only_output_is_9_before_any_work(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    for path in (folder, *folder.parents[:3], toy_path, *toy_path.parents[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    request.getfixturevalue("as_nobody")
    done = scanside("run", folder, "--bundle", toy_path, "--output", out)
    assert done.code == 9
    assert done.out == ""
    assert "Permission denied" in done.err


def test_an_output_with_results_is_9_and_stays(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = scanside("run", folder, "--bundle", toy_path, "--output", out)
    again = scanside("run", folder / "a", "--bundle", toy_path, "--output", out)
    assert (first.code, again.code) == (0, 9)
    assert (out / "results.jsonl").read_text() == first.out
    replaced = scanside("run", folder / "a", "--bundle", toy_path, "--output", out, "--overwrite")
    assert replaced.code == 0
    assert not (out / "masks" / "b").exists()


def _buffered() -> dict[str, str]:
    """Return the environment with Python's own buffering of stdout, whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_a_full_stdout_is_9(toy_path: Path, folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*SCRIPT, "run", folder, "--bundle", toy_path], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False, env=_buffered(),
        )  # fmt: skip
    assert done.returncode == 9
    assert "standard output: No space left on device" in done.stderr


def test_what_is_left_in_a_full_stdout_does_not_change_the_code() -> None:
    """Python itself ends with 120 where its last flush fails."""
    code = """
import sys
from scanside.cli import main
main._run = lambda: sys.stdout.write("a record") and 9
main.main()
"""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, env=_buffered(),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (9, "")


def test_a_full_output_folder_is_9_and_nothing_is_half_written(
    toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    """No file may grow beyond 5 kB: records fit, pictures do not."""
    code = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
sys.argv = ["scanside", "run", {str(folder)!r}, "--bundle", {str(toy_path)!r},
            "--output", {str(tmp_path / "out")!r}]
from scanside.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert "File too large" in done.stderr
    left = [p for p in (tmp_path / "out").rglob("*") if p.suffix in {".png", ".part"}]
    assert all(cv2.imread(str(p)) is not None for p in left)


def test_ctrl_c_keeps_what_was_done(toy_path: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "in" / "0.png", toy.lesion_slice(2))
    for n in range(1, 3000):
        os.link(image, tmp_path / "in" / f"{n}.png")
    out = tmp_path / "out"
    running = subprocess.Popen(
        [*SCRIPT, "run", tmp_path / "in", "--bundle", toy_path, "--output", out],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if (out / "masks").exists():
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert records[-1]["type"] == "run"
    assert records[-1]["interrupted"] is True
    slices = [r for r in records if r["type"] == "slice"]
    assert 0 < len(slices) == records[-1]["slices"] < 3000
    assert all((out / r["mask"]).exists() for r in slices)


def test_ctrl_c_among_the_pages_of_a_file_is_an_interruption(
    toy_path: Path, tmp_path: Path
) -> None:
    pages = [toy.lesion_slice(2)[..., ::-1]] * 400
    assert cv2.imwritemulti(str(tmp_path / "pages.tif"), pages)
    records = interrupted(signal.SIGINT, tmp_path / "pages.tif", "--bundle", toy_path)
    assert records[-1]["interrupted"] is True
    assert records[-1]["slices"] < 400


@pytest.mark.parametrize("words", [["run"], ["run", "x", "--page"], ["nonsense"], ["run", "--no"]])
def test_usage_errors_are_2(scanside: Command, words: list[str]) -> None:
    assert scanside(*words).code == 2


def test_strict_makes_an_indeterminate_slice_7(
    scanside: Command, toy_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanside.backends.onnxruntime import OnnxRuntimeBackend

    def empty(_: object, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 256, 256), np.float32)

    monkeypatch.setattr(OnnxRuntimeBackend, "segment", empty)
    on_cpu = ("--bundle", toy_path, "--backend", "cpu")
    relaxed = scanside("run", folder, *on_cpu)
    strict = scanside("run", folder, *on_cpu, "--strict")
    assert (relaxed.code, strict.code) == (0, 7)
    odd = [r for r in strict.slices if r["status"] == "indeterminate"]
    assert len(odd) == 2
    assert all(r["tumor"] is None and r["reason"] for r in odd)


def test_a_name_that_is_no_text_breaks_nothing(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    image = save(tmp_path / "a.png", toy.lesion_slice(2))
    os.rename(os.fsencode(image), os.fsencode(tmp_path) + b"/\xff\xfe.png")  # noqa: PTH104
    done = scanside("run", tmp_path, "--bundle", toy_path, "--output", tmp_path / "out", "--page")
    assert done.code == 0, done.err
    assert done.slices[0]["source"].endswith("\\xff\\xfe.png")
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])["tumor"]
