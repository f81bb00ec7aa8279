"""The course of a run, with a learner that learns nothing but says what it is told."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("tensorflow", reason="needs the extra train")

from scanside.errors import InputError, UsageError
from scanside.evaluation.splits import read_split
from scanside_training.checkpoint import read_checkpoint
from scanside_training.config import (
    ClassifierConfig,
    Phase,
    SamplingConfig,
    StopConfig,
)
from scanside_training.material import gather
from scanside_training.run import CHECKPOINT, Job, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.tf

SIZE = 8


class Parrot:
    """A learner whose AUC in each epoch, and whose loss at each step, is given."""

    learning_rate = 0.1

    def __init__(self, aucs: list[float], losses: Iterator[float] | None = None) -> None:
        self._aucs = iter(aucs)
        self._losses = losses
        self.epochs = 0
        self.mined: list[int] = []

    def step(self, images: Any, targets: Any) -> float:
        assert len(images) == len(targets["label"])
        return next(self._losses) if self._losses else 0.5

    def predict(self, pool: Any, numbers: Any, batch: int) -> Any:
        assert batch == 4
        if len(numbers) < len(pool):
            self.mined.append(self.epochs)
            return np.linspace(0, 1, len(numbers), dtype=np.float32)
        self.epochs += 1
        # Four of eight validation slices are positive: k of the 16 pairs are in order.
        scores = np.zeros(len(pool), np.float32)
        positive = np.flatnonzero(pool.positive)
        negative = np.flatnonzero(~pool.positive)
        right = round(next(self._aucs) * 16)
        scores[negative] = [1, 2, 3, 4]
        whole, rest = divmod(right, 4)
        scores[positive] = [4.5] * whole + [rest + 0.5] * (whole < 4) + [0.5] * (3 - whole)
        return scores / 5

    def averages(self) -> dict[str, Any]:
        return {"weight": np.array([self.epochs], np.float32)}

    def state(self) -> dict[str, Any]:
        return {"state": np.array([self.epochs])}

    def restore(self, state: dict[str, Any]) -> None:
        self.epochs = int(state["state"][0])


def config(epochs: tuple[int, ...] = (4,), **others: Any) -> ClassifierConfig:
    sides = [64] * (len(epochs) - 1) + [256]
    phases = tuple(
        Phase(side=side, epochs=count, batch=4) for side, count in zip(sides, epochs, strict=True)
    )
    sampling = SamplingConfig(slices_per_epoch=SIZE)
    return ClassifierConfig(**{"phases": phases, "sampling": sampling, **others})


def start(tiny: Any, output: Path, settings: ClassifierConfig, parrot: Parrot) -> Run:
    material = gather(settings, tiny.dataset, read_split(tiny.split))
    console = Console(file=StringIO())
    job = Job(settings, material, "identity", output, console, 0, 1, SIZE)
    return Run(job, parrot)  # type: ignore[arg-type]


def test_the_best_epoch_is_the_one_with_the_best_metric(tiny: Any, tmp_path: Path) -> None:
    run = start(tiny, tmp_path, config(), Parrot([0.5, 0.875, 0.75, 0.875]))
    run.fit()
    assert [row.validation["auc"] for row in run.history] == [0.5, 0.875, 0.75, 0.875]
    assert [row.best for row in run.history] == [True, True, False, False]
    assert run.best["weight"] == 2


def test_only_the_last_phase_competes(tiny: Any, tmp_path: Path) -> None:
    run = start(tiny, tmp_path, config((2, 2)), Parrot([1.0, 1.0, 0.5, 0.75]))
    run.fit()
    assert [row.best for row in run.history] == [False, False, True, True]
    assert [row.side for row in run.history] == [64, 64, 256, 256]
    assert run.best["weight"] == 4


def test_it_stops_when_patience_is_over(tiny: Any, tmp_path: Path) -> None:
    settings = config((1, 8), stop=StopConfig(patience=2))
    run = start(tiny, tmp_path, settings, Parrot([1.0, 0.5, 0.75, 0.75, 0.5, 1.0]))
    run.fit()
    assert len(run.history) == 5
    assert run.best["weight"] == 3


def test_negatives_are_mined_every_few_epochs(tiny: Any, tmp_path: Path) -> None:
    sampling = SamplingConfig(slices_per_epoch=SIZE, hard_share=0.5, mine_every=2)
    parrot = Parrot([0.5] * 5)
    start(tiny, tmp_path, config((5,), sampling=sampling), parrot).fit()
    assert parrot.mined == [2, 4]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_it_and_keeps_the_checkpoint(
    tiny: Any, tmp_path: Path, loss: float
) -> None:
    run = start(tiny, tmp_path, config(), Parrot([0.5, 0.5], iter([0.5, 0.5, 0.4, loss])))
    with pytest.raises(UsageError, match=f"the loss is {loss} in epoch 2, step 2"):
        run.fit()
    checkpoint, _ = read_checkpoint(tmp_path / CHECKPOINT)
    assert len(checkpoint.history) == 1


def test_it_goes_on_where_it_was(tiny: Any, tmp_path: Path) -> None:
    aucs = [0.5, 0.875, 0.75, 1.0]
    whole = start(tiny, tmp_path / "whole", config((1, 3)), Parrot(aucs))
    (tmp_path / "whole").mkdir()
    whole.fit()

    parts = tmp_path / "parts"
    parts.mkdir()
    failing = Parrot(aucs, iter([0.5] * 5 + [float("nan")]))
    with pytest.raises(UsageError):
        start(tiny, parts, config((1, 3)), failing).fit()
    resumed = start(tiny, parts, config((1, 3)), Parrot(aucs[2:]))
    resumed.restore()
    assert len(resumed.history) == 2
    resumed.fit()

    def lasting(run: Run) -> list[Any]:
        timeless = {"seconds": 0.0, "validation_seconds": 0.0, "wait_share": 0.0}
        return [msgspec.structs.replace(row, **timeless) for row in run.history]

    assert lasting(resumed) == lasting(whole)
    assert resumed.best["weight"] == whole.best["weight"] == 4


def test_a_checkpoint_of_another_run_is_refused(tiny: Any, tmp_path: Path) -> None:
    start(tiny, tmp_path, config((1,)), Parrot([0.5])).fit()
    other = start(tiny, tmp_path, config((1,)), Parrot([0.5]))
    other._job = other._job._replace(identity="another")
    with pytest.raises(InputError, match="another configuration"):
        other.restore()


def test_nothing_saved_yet_starts_from_the_first_epoch(tiny: Any, tmp_path: Path) -> None:
    run = start(tiny, tmp_path, config((1,)), Parrot([0.5]))
    run.restore()
    assert run.history == ()
