"""Whole runs on a tiny dataset, each in a process of its own as a user starts them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

pytest.importorskip("tensorflow", reason="needs the extra train")

from scanside.errors import OutputError, UsageError
from scanside_training.config import Phase, SegmenterConfig
from scanside_training.train import check_batches, train

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tf

METRIC_NOISE = 1e-6
"""Two runs of one seed on one machine agree to this: ops are deterministic."""

SEGMENTER = """
task = "segmenter"
[model]
filters = [8, 8, 16]
[[phases]]
side = 64
epochs = 2
batch = 4
[[phases]]
side = 256
epochs = 2
batch = 4
[sampling]
slices_per_epoch = 12
hard_share = 0.5
mine_every = 2
[optimizer]
learning_rate = {rate}
[machine]
threads = 1
tensorboard = true
"""

CLASSIFIER = """
task = "classifier"
[model]
width = 0.125
[[phases]]
side = 256
epochs = 1
batch = 4
[sampling]
slices_per_epoch = 8
phantom_share = 0.25
phantoms = 20
[machine]
threads = 1
"""


class Command(NamedTuple):
    """How a run is started."""

    words: list[str]
    environment: dict[str, str]

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words, env=self.environment, capture_output=True, text=True, check=False
        )


def command(tiny: Any, config: Path, output: Path, *others: str) -> Command:
    code = "from scanside.cli.main import main; main()"
    words = [
        *(sys.executable, "-W", "ignore", "-c", code, "train", config.stem),
        *("--config", str(config), "--data", str(tiny.data), "--split", str(tiny.split)),
        *("--output", str(output), *others),
    ]
    return Command(words, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""})


def segmenter_config(folder: Path, rate: float = 1e-3) -> Path:
    path = folder / "segmenter.toml"
    path.write_text(SEGMENTER.format(rate=rate), encoding="utf-8")
    return path


def history(output: Path) -> list[dict[str, Any]]:
    lines = (output / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def finished(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a whole run of the segmenter."""
    folder = tmp_path_factory.mktemp("finished")
    done = command(tiny, segmenter_config(folder), folder / "out").run()
    assert done.returncode == 0, done.stderr
    assert "segmenter.keras" in done.stdout
    assert "left" in done.stderr
    return folder / "out"


@pytest.mark.slow
def test_a_run_leaves_a_model_and_what_made_it(finished: Path, tiny: Any) -> None:
    facts = json.loads((finished / "training.json").read_text(encoding="utf-8"))
    assert facts["schema"] == "scanside.training/1"
    assert facts["dataset_sha256"] == tiny.dataset.sha256
    assert facts["config"]["model"]["stem_stride"] == 2  # defaults are written out
    assert facts["best"]["phase"] == 1
    assert facts["epochs"] == 4
    rows = history(finished)
    best = max(rows[2:], key=lambda row: row["validation"]["dice"])
    assert facts["best"]["validation"]["dice"] == best["validation"]["dice"]
    assert (finished / "config.toml").read_text(encoding="utf-8").startswith("\ntask")
    assert list((finished / "tensorboard").iterdir())
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(0 <= row["wait_share"] <= 1 for row in rows)


@pytest.mark.slow
def test_the_saved_model_is_the_one_that_was_validated(finished: Path, tiny: Any) -> None:
    import keras
    import numpy as np

    from scanside.evaluation.dataset import load_image, load_mask
    from scanside.evaluation.splits import read_split
    from scanside_training.tasks import segmenter_metrics

    slices = tiny.dataset.of(read_split(tiny.split).validation)
    model = keras.saving.load_model(finished / "segmenter.keras", compile=False)
    images = np.stack([load_image(item) for item in slices])
    masks = np.stack([load_mask(item) for item in slices])
    probability = np.asarray(model(images, training=False))
    found = segmenter_metrics(probability, masks, [item.patient for item in slices])
    facts = json.loads((finished / "training.json").read_text(encoding="utf-8"))
    assert found["dice"] == pytest.approx(facts["best"]["validation"]["dice"], abs=1e-4)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(finished: Path, tiny: Any, tmp_path: Path) -> None:
    config, output = segmenter_config(tmp_path), tmp_path / "out"
    started = command(tiny, config, output)
    process = subprocess.Popen(
        started.words, env=started.environment, stderr=subprocess.PIPE, text=True
    )
    while not (output / "checkpoint.npz").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done_before = len(history(output)) if (output / "log.jsonl").exists() else 1
    assert done_before < 4, "the run was over before it could be killed"

    done = command(tiny, config, output, "--resume").run()
    assert done.returncode == 0, done.stderr
    rows, expected = history(output), history(finished)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    for row, other in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=METRIC_NOISE)
        assert row["validation"] == pytest.approx(other["validation"], abs=METRIC_NOISE)


@pytest.mark.slow
def test_the_classifier_trains_with_phantoms(tiny: Any, tmp_path: Path) -> None:
    config = tmp_path / "classifier.toml"
    config.write_text(CLASSIFIER, encoding="utf-8")
    done = command(tiny, config, tmp_path / "out").run()
    assert done.returncode == 0, done.stderr
    assert "classifier.keras" in done.stdout
    assert set(history(tmp_path / "out")[0]["validation"]) == {"auc", "loss"}


@pytest.mark.slow
def test_a_former_model_is_gone_on_with(finished: Path, tiny: Any, tmp_path: Path) -> None:
    """With a learning rate of nearly zero the model stays what it was."""
    config, former = segmenter_config(tmp_path, rate=1e-12), finished / "segmenter.keras"
    done = command(tiny, config, tmp_path / "out", "--initial", str(former)).run()
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert facts["initial_sha256"] == hashlib.sha256(former.read_bytes()).hexdigest()
    first, last = history(tmp_path / "out")[0], history(finished)[-1]
    assert first["loss"] == pytest.approx(last["loss"], abs=0.15)
    assert first["loss"] < history(finished)[0]["loss"]


@pytest.mark.slow
def test_a_loss_that_explodes_stops_the_run(tiny: Any, tmp_path: Path) -> None:
    config = segmenter_config(tmp_path, rate=1e30)
    done = command(tiny, config, tmp_path / "out").run()
    assert done.returncode == 2, done.stderr
    assert "the loss is nan" in done.stderr
    assert "learning_rate" in done.stderr


@pytest.mark.slow
def test_another_configuration_cannot_go_on(finished: Path, tiny: Any, tmp_path: Path) -> None:
    before = (finished / "checkpoint.npz").read_bytes()
    done = command(tiny, segmenter_config(tmp_path, rate=2e-3), finished, "--resume").run()
    assert done.returncode == 3
    assert "another configuration" in done.stderr
    assert (finished / "checkpoint.npz").read_bytes() == before


def attempt(tiny: Any, output: Path, *, resume: bool) -> None:
    from rich.console import Console

    train(
        SegmenterConfig(phases=(Phase(epochs=1),)),
        data=tiny.data,
        split_file=tiny.split,
        output=output,
        console=Console(stderr=True),
        resume=resume,
    )


def test_a_run_is_never_overwritten(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"precious")
    with pytest.raises(OutputError, match="--resume"):
        attempt(tiny, tmp_path, resume=False)
    assert (tmp_path / "checkpoint.npz").read_bytes() == b"precious"


def test_resuming_needs_a_run(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not there"):
        attempt(tiny, tmp_path / "absent", resume=True)


@pytest.mark.parametrize(
    ("size", "workers", "found"), [(12, 1, "fewer than one batch of 16"), (64, 3, "3 workers")]
)
def test_batches_must_fit(size: int, workers: int, found: str) -> None:
    config = SegmenterConfig(phases=(Phase(epochs=1, batch=16),))
    with pytest.raises(UsageError, match=found):
        check_batches(config, size, workers)
