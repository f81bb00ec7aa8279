from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "keras", "h5py"):
    sys.modules[name] = None
from scanside.cli.main import main
main()
"""


def without_tensorflow(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_needs_the_core_only() -> None:
    done = without_tensorflow("train", "--help")
    assert done.returncode == 0
    for option in (
        "--config",
        "--data",
        "--split",
        "--initial",
        "--output",
        "--resume",
        "--strategy",
    ):
        assert option in done.stdout


def test_without_the_extra_it_says_how_to_install_it(tiny: Any, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('task = "segmenter"\nphases = [{ epochs = 1 }]\n', encoding="utf-8")
    done = without_tensorflow(
        *("train", "segmenter", "--config", config, "--data", tiny.data),
        *("--split", tiny.split, "--output", tmp_path / "out"),
    )
    assert done.returncode == 8
    assert "pip install 'scanside[train]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_preset_that_the_task_does_not_have_is_refused(tmp_path: Path) -> None:
    done = without_tensorflow(
        *("train", "classifier", "--preset", "refine", "--output", tmp_path / "out")
    )
    assert done.returncode == 2
    assert "accepted for a classifier: full, phantom, reference" in " ".join(done.stderr.split())
