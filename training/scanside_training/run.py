"""The epochs of a training run: learn, validate, remember the best, stop early."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside.errors import InputError, UsageError
from scanside_training.checkpoint import Checkpoint, Epoch, read_checkpoint, write_checkpoint
from scanside_training.generator import DataGenerator, Prefetcher
from scanside_training.journal import Progress, write_logs
from scanside_training.tasks import (
    SELECTION,
    classifier_metrics,
    false_response,
    segmenter_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.console import Console

    from scanside_training.config import Config, Phase
    from scanside_training.learner import Learner
    from scanside_training.material import Material
    from scanside_training.pool import SlicePool

__all__ = ["CHECKPOINT", "Job", "Run"]

CHECKPOINT: Final = "checkpoint.npz"

_BEST: Final = "best/"
_HARDNESS: Final = "hardness"


class Job(NamedTuple):
    """What a run is about.

    Attributes
    ----------
    config
        What to train, and how.
    material
        The slices.
    identity
        Hash of everything that determines the result.
    output
        Folder of the results.
    console
        Where progress goes.
    shard, shards
        Which of how many workers this is; the first one writes.
    size
        Slices an epoch.
    """

    config: Config
    material: Material
    identity: str
    output: Path
    console: Console
    shard: int
    shards: int
    size: int


class Run:
    """A training run and where it stands.

    Parameters
    ----------
    job
        What it is about.
    learner
        The model that learns.

    Attributes
    ----------
    history
        The epochs that are done.
    best
        The averaged variables of the best epoch, by path; empty before the last phase.
    """

    def __init__(self, job: Job, learner: Learner) -> None:
        self._job = job
        self._learner = learner
        self._progress = Progress(job.console, job.config.phases, job.size)
        self._last = len(job.config.phases) - 1
        self._hardness: NDArray[np.float32] | None = None
        self.history: tuple[Epoch, ...] = ()
        self.best: dict[str, NDArray[Any]] = {}

    def restore(self) -> None:
        """Go back to the end of the last epoch that was saved; to the beginning if none was.

        Raises
        ------
        InputError
            If the checkpoint cannot be read or is of another run.
        """
        path = self._job.output / CHECKPOINT
        if not path.exists():
            self._job.console.print(f"no epoch was saved in {path.parent}: starting from the first")
            return
        checkpoint, arrays = read_checkpoint(path)
        if checkpoint.identity != self._job.identity:
            raise InputError(
                f"the checkpoint {path} is of another configuration, dataset, split or precision",
                accepted="the same ones; threads, workers, memory and strategy may change",
                remedy="train anew into another --output, without --resume",
            )
        self.history = checkpoint.history
        best = [name for name in arrays if name.startswith(_BEST)]
        self.best = {name.removeprefix(_BEST): arrays.pop(name) for name in best}
        self._hardness = arrays.pop(_HARDNESS, None)
        self._learner.restore(arrays)
        for row in self.history:
            self._progress.epoch(row)

    def fit(self) -> None:
        """Train from the first epoch that is not done to the last, or to an early stop.

        Raises
        ------
        UsageError
            If the loss becomes infinite or NaN.
        OutputError
            If a checkpoint or log cannot be written.
        """
        config = self._job.config
        for number, phase, epochs in self._phases_to_do():
            train, validation = self._job.material.pools(config, phase.side)
            generator = DataGenerator(
                train,
                batch=phase.batch,
                sampling=config.sampling,
                augmentation=config.augment,
                seed=config.seed,
                shard=self._job.shard,
                shards=self._job.shards,
                workers=config.machine.workers,
            )
            for epoch in epochs:
                if self._is_stopped():
                    return
                row = self._epoch(epoch, number, generator, validation)
                self.history += (row,)
                self._write()
                self._progress.epoch(row)

    def _epoch(
        self, epoch: int, number: int, generator: DataGenerator, validation: SlicePool
    ) -> Epoch:
        phase = self._job.config.phases[number]
        begin = time.perf_counter()
        self._mine(epoch, phase, generator.pool)
        generator.hardness = self._hardness
        generator.start(epoch)
        mined = time.perf_counter()
        losses, waited = self._learn(epoch, generator)
        trained = time.perf_counter()
        metrics = self._validate(validation, phase.batch)
        best = number == self._last and self._is_best(metrics)
        if best:
            self.best = self._learner.averages()
        return Epoch(
            epoch=epoch,
            phase=number,
            side=phase.side,
            slices=len(generator) * phase.batch,
            seconds=round(trained - mined, 3),
            validation_seconds=round(time.perf_counter() - trained + mined - begin, 3),
            wait_share=round(waited / (trained - mined), 4),
            learning_rate=self._learner.learning_rate,
            loss=float(np.mean(losses)),
            validation=metrics,
            best=best,
        )

    def _learn(self, epoch: int, generator: DataGenerator) -> tuple[list[float], float]:
        """Take an epoch's steps; return their losses and the seconds waited for data."""
        batches = Prefetcher(generator, self._job.config.machine.workers)
        begin = time.perf_counter()
        losses: list[float] = []
        for images, targets in batches:
            loss = self._learner.step(images, targets)
            losses.append(loss)
            if not np.isfinite(loss):
                raise UsageError(
                    f"the loss is {loss} in epoch {epoch + 1}, step {len(losses)}, at the learning"
                    f" rate {self._learner.learning_rate:.3g}",
                    remedy="lower optimizer.learning_rate or lengthen optimizer.warmup_epochs; the"
                    f" state before this epoch is kept in {self._job.output / CHECKPOINT}",
                )
            if len(losses) == 1:
                begin = time.perf_counter()  # the first step builds the graph: no measure
            done = (len(losses) - 1) / len(generator)
            self._progress.step(epoch, done, loss, time.perf_counter() - begin)
        return losses, batches.waited

    def _validate(self, pool: SlicePool, batch: int) -> dict[str, float]:
        probability = self._learner.predict(pool, np.arange(len(pool)), batch)
        if self._job.config.task == "classifier":
            return classifier_metrics(probability, pool.positive)
        masks = np.stack([pool[number][1] for number in range(len(pool))])
        return segmenter_metrics(probability, masks, self._job.material.validation_patients)

    def _mine(self, epoch: int, phase: Phase, pool: SlicePool) -> None:
        """Measure the negatives' false response, at the beginning of every few epochs.

        The epoch's number alone decides when, so that a resumed run mines as often.
        """
        sampling = self._job.config.sampling
        if not (sampling.hard_share and epoch and epoch % sampling.mine_every == 0):
            return
        negative = np.flatnonzero(~pool.positive[: pool.real])
        response = self._learner.predict(pool, negative, phase.batch)
        self._hardness = np.zeros(pool.real, np.float32)
        self._hardness[negative] = false_response(response)

    def _is_best(self, metrics: dict[str, float]) -> bool:
        name = SELECTION[self._job.config.task]
        rivals = [row.validation[name] for row in self.history if row.phase == self._last]
        return metrics[name] > max(rivals, default=-np.inf)

    def _is_stopped(self) -> bool:
        patience = self._job.config.stop.patience
        rows = [row for row in self.history if row.phase == self._last]
        if not patience or len(rows) <= patience or any(row.best for row in rows[-patience:]):
            return False
        self._job.console.print(f"stopped early: {patience} epochs without a better validation")
        return True

    def _phases_to_do(self) -> Iterator[tuple[int, Phase, range]]:
        first, done = 0, len(self.history)
        for number, phase in enumerate(self._job.config.phases):
            epochs = range(max(first, done), first + phase.epochs)
            first += phase.epochs
            if epochs:
                yield number, phase, epochs

    def _write(self) -> None:
        if self._job.shard:
            return
        arrays = self._learner.state() | {_BEST + path: value for path, value in self.best.items()}
        if self._hardness is not None:
            arrays[_HARDNESS] = self._hardness
        checkpoint = Checkpoint(identity=self._job.identity, history=self.history)
        write_checkpoint(self._job.output / CHECKPOINT, checkpoint, arrays)
        write_logs(self._job.output, self.history, tensorboard=self._job.config.machine.tensorboard)
