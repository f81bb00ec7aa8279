from __future__ import annotations

import csv
import json
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from scanside.errors import InputError, OutputError
from scanside_training.checkpoint import Checkpoint, Epoch, read_checkpoint, write_checkpoint
from scanside_training.config import Phase
from scanside_training.journal import Progress, write_logs

if TYPE_CHECKING:
    from pathlib import Path


def epoch(number: int, **others: object) -> Epoch:
    facts: dict[str, object] = {
        "epoch": number,
        "phase": 0,
        "side": 128,
        "slices": 100,
        "seconds": 8.0,
        "validation_seconds": 2.0,
        "wait_share": 0.01,
        "learning_rate": 1e-3,
        "loss": 0.5,
        "validation": {"auc": 0.9, "loss": 0.3},
        "best": False,
    }
    return Epoch(**{**facts, **others})  # type: ignore[arg-type]


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    arrays = {
        "model/conv/kernel": np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32),
        "optimizer/0": np.array(7, np.int64),
    }
    checkpoint = Checkpoint(identity="x", history=(epoch(0), epoch(1)))
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, checkpoint, arrays)
    found, values = read_checkpoint(path)
    assert found == checkpoint
    assert values.keys() == arrays.keys()
    for name, value in arrays.items():
        assert values[name].dtype == value.dtype
        assert np.array_equal(values[name], value)
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.npz"]


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, Checkpoint(identity="x", history=()), {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="without --resume"):
        read_checkpoint(path)


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent"):
        write_checkpoint(
            tmp_path / "absent" / "checkpoint.npz", Checkpoint(identity="x", history=()), {}
        )


def test_logs_hold_the_whole_history_once(tmp_path: Path) -> None:
    for count in (1, 2, 2):
        write_logs(tmp_path, tuple(epoch(number) for number in range(count)))
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]
    rows = list(csv.DictReader(StringIO((tmp_path / "log.csv").read_text(encoding="utf-8"))))
    assert [row["validation_auc"] for row in rows] == ["0.9", "0.9"]


def test_the_time_left_grows_with_the_pixels() -> None:
    text = StringIO()
    phases = (Phase(side=128, epochs=1), Phase(side=256, epochs=2))
    progress = Progress(Console(file=text, width=200), phases, 100)
    progress.epoch(epoch(0))
    # 10 s for an epoch at 128 pixels: two at 256 take four times as long each.
    assert "0:01:20 left" in text.getvalue()
    progress.epoch(epoch(1, side=256, seconds=40.0, validation_seconds=0.0))
    assert "0:00:40 left" in text.getvalue()
