"""A training run from its inputs to the model that is exported."""

from __future__ import annotations

import hashlib
import platform
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import keras
import msgspec
import numpy as np
import tensorflow as tf
from msgspec import Struct

import scanside
from scanside.errors import InputError, OutputError, UsageError
from scanside.evaluation.dataset import index_dataset
from scanside.evaluation.files import write_atomic
from scanside.evaluation.splits import Split, check_split, read_split
from scanside.preprocess import SIDE
from scanside_training.checkpoint import Checkpoint, Epoch, read_checkpoint, write_checkpoint
from scanside_training.config import ClassifierConfig, Config
from scanside_training.generator import DataGenerator, Prefetcher
from scanside_training.journal import Progress, write_logs
from scanside_training.learner import Learner
from scanside_training.machine import prepare, resolve_precision, shard_of
from scanside_training.phantom import generate_patient
from scanside_training.pool import SlicePool
from scanside_training.sampling import epoch_size
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

    from scanside.evaluation.dataset import Dataset, DatasetSlice
    from scanside_training.config import Phase

__all__ = ["Training", "train"]

TRAINING_SCHEMA: Final = "scanside.training/1"

_CHECKPOINT: Final = "checkpoint.npz"
_BEST: Final = "best"

_PHANTOM_SEED: Final = 5000
"""First seed of the phantoms trained on; those that are shown and measured are below it."""

_PHANTOM_SLICES: Final = 20
"""Slices of a phantom patient."""


class Training(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``training.json`` records: everything that determined the model, and its metrics.

    Attributes
    ----------
    task
        ``classifier`` or ``segmenter``.
    config
        The configuration with every default written out.
    dataset_sha256, split
        What was trained and validated on.
    model_sha256
        Hash of the saved model.
    parameters
        Number of the saved model's parameters.
    precision
        What was computed in.
    best
        The epoch whose averaged weights were saved, with its validation metrics.
    epochs
        Number of epochs done; fewer than configured after an early stop.
    seconds
        Wall time of all epochs.
    versions
        Versions of what computed it.
    """

    schema: str = TRAINING_SCHEMA
    task: str
    config: Config
    dataset_sha256: str
    split: Split
    model_sha256: str
    parameters: int
    precision: str
    best: Epoch
    epochs: int
    seconds: float
    versions: dict[str, str]


class _Part(NamedTuple):
    """The slices of one part of the split."""

    slices: tuple[DatasetSlice, ...]
    synthetic: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def pool(self, config: Config, side: int) -> SlicePool:
        return SlicePool(
            self.slices,
            side=side,
            ram_mb=config.machine.ram_mb // 2,  # training and validation share the budget
            workers=config.machine.workers,
            synthetic=self.synthetic,
        )


def train(  # noqa: PLR0913 - the inputs of a run, by keyword
    config: Config,
    *,
    data: Path,
    split_file: Path,
    output: Path,
    console: Console,
    resume: bool = False,
) -> Training:
    """Train a model.

    Parameters
    ----------
    config
        What to train, and how.
    data
        Folder of the labelled slices.
    split_file
        The split of its patients.
    output
        Folder of the results: ``<task>.keras``, ``training.json``, ``log.csv``, ``log.jsonl``
        and ``checkpoint.npz``.
    console
        Where progress goes.
    resume
        Go on from the checkpoint in `output`.

    Returns
    -------
    Training
        What was written to ``training.json``.

    Raises
    ------
    InputError
        If the dataset or the split is not accepted, or the checkpoint is of another run.
    UsageError
        If the configuration cannot be run here, or the loss becomes infinite or NaN.
    OutputError
        If `output` holds another run, or cannot be written.
    """
    _check_output(output, resume=resume)
    strategy = prepare(config.machine, config.seed)
    precision = resolve_precision(config.machine.precision)
    dataset = index_dataset(data)
    split = read_split(split_file)
    check_split(split, dataset)
    run = _Run(config, dataset, split, output, console, strategy, precision)
    if resume:
        run.restore()
    run.fit()
    return run.save()


class _Run:
    """A training run: its parts, its history and its best weights."""

    def __init__(  # noqa: PLR0913 - what `train` has prepared
        self,
        config: Config,
        dataset: Dataset,
        split: Split,
        output: Path,
        console: Console,
        strategy: tf.distribute.Strategy,
        precision: str,
    ) -> None:
        self._config, self._dataset, self._split = config, dataset, split
        self._output, self._console, self._precision = output, console, precision
        self._task = "classifier" if isinstance(config, ClassifierConfig) else "segmenter"
        self._shard, self._shards = shard_of(config.machine)
        self._train = _Part(dataset.of(split.train), _phantoms(config))
        self._validation = _Part(dataset.of(split.validation))
        positive = np.array([item.positive for item in self._train.slices])
        self._size = epoch_size(positive, config.sampling)
        self._check_batches()
        steps = [self._size // phase.batch for phase in config.phases]
        self._learner = Learner(
            config,
            steps=sum(n * phase.epochs for n, phase in zip(steps, config.phases, strict=True)),
            warmup=config.optimizer.warmup_epochs * steps[0],
            precision=precision,
            strategy=strategy,
            workers=self._shards,
        )
        self._progress = Progress(console, config.phases, self._size)
        self._history: tuple[Epoch, ...] = ()
        self._best: dict[str, NDArray[Any]] = {}
        self._hardness: NDArray[np.float32] | None = None

    def fit(self) -> None:
        """Train from the first epoch that is not done to the last, or to an early stop."""
        for number, phase, epochs in self._phases_to_do():
            pool = self._train.pool(self._config, phase.side)
            validation = self._validation.pool(self._config, phase.side)
            generator = DataGenerator(
                pool,
                batch=phase.batch,
                sampling=self._config.sampling,
                augmentation=self._config.augment,
                seed=self._config.seed,
                shard=self._shard,
                shards=self._shards,
                workers=self._config.machine.workers,
            )
            for epoch in epochs:
                if self._is_stopped():
                    return
                row = self._epoch(epoch, number, phase, generator, validation)
                self._history += (row,)
                if self._shard == 0:
                    self._write()
                self._progress.epoch(row)

    def _epoch(
        self,
        epoch: int,
        number: int,
        phase: Phase,
        generator: DataGenerator,
        validation: SlicePool,
    ) -> Epoch:
        begin = time.perf_counter()
        self._mine(epoch, phase, generator.pool)
        generator.hardness = self._hardness
        generator.start(epoch)
        mined = time.perf_counter()
        batches = Prefetcher(generator, self._config.machine.workers)
        losses: list[float] = []
        for images, targets in batches:
            losses.append(self._step(epoch, len(losses), images, targets))
            seconds = time.perf_counter() - mined
            self._progress.step(epoch, len(losses) / len(generator), losses[-1], seconds)
        trained = time.perf_counter()
        metrics = self._validate(validation, phase.batch)
        best = number == len(self._config.phases) - 1 and self._is_best(metrics)
        if best:
            self._best = self._learner.averages()
        return Epoch(
            epoch=epoch,
            phase=number,
            side=phase.side,
            slices=len(generator) * phase.batch,
            seconds=round(trained - mined, 3),
            validation_seconds=round(time.perf_counter() - trained + mined - begin, 3),
            wait_share=round(batches.waited / (trained - mined), 4),
            learning_rate=self._learner.learning_rate,
            loss=float(np.mean(losses)),
            validation=metrics,
            best=best,
        )

    def _step(self, epoch: int, step: int, images: Any, targets: Any) -> float:
        loss = self._learner.step(images, targets)
        if not np.isfinite(loss):
            raise UsageError(
                f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}, at the learning rate"
                f" {self._learner.learning_rate:.3g}",
                remedy="lower optimizer.learning_rate, or lengthen optimizer.warmup_epochs; the"
                f" checkpoint of epoch {epoch} is kept in {self._output}",
            )
        return loss

    def _validate(self, pool: SlicePool, batch: int) -> dict[str, float]:
        probability = self._learner.predict(pool, np.arange(len(pool)), batch)
        if self._task == "classifier":
            return classifier_metrics(probability, pool.positive)
        masks = np.stack([pool[number][1] for number in range(len(pool))])
        return segmenter_metrics(
            probability, masks, [item.patient for item in self._validation.slices]
        )

    def _mine(self, epoch: int, phase: Phase, pool: SlicePool) -> None:
        """Measure the negatives' false response, at the beginning of every few epochs.

        The epoch's number alone decides when, so that a resumed run mines as often.
        """
        sampling = self._config.sampling
        if not (sampling.hard_share and epoch and epoch % sampling.mine_every == 0):
            return
        negative = np.flatnonzero(~pool.positive[: pool.real])
        response = self._learner.predict(pool, negative, phase.batch)
        self._hardness = np.zeros(pool.real, np.float32)
        self._hardness[negative] = false_response(response, is_mask=self._task == "segmenter")

    def _is_best(self, metrics: dict[str, float]) -> bool:
        name, last = SELECTION[self._task], len(self._config.phases) - 1
        rivals = [row.validation[name] for row in self._history if row.phase == last]
        return metrics[name] > max(rivals, default=-np.inf)

    def _is_stopped(self) -> bool:
        patience, last = self._config.stop.patience, len(self._config.phases) - 1
        rows = [row for row in self._history if row.phase == last]
        if not patience or len(rows) <= patience or any(row.best for row in rows[-patience:]):
            return False
        self._console.print(f"stopped early: {patience} epochs without a better validation metric")
        return True

    def _phases_to_do(self) -> Iterator[tuple[int, Phase, range]]:
        first, done = 0, len(self._history)
        for number, phase in enumerate(self._config.phases):
            epochs = range(max(first, done), first + phase.epochs)
            first += phase.epochs
            if epochs:
                yield number, phase, epochs

    def _check_batches(self) -> None:
        for number, phase in enumerate(self._config.phases):
            if phase.batch > self._size:
                raise UsageError(
                    f"an epoch has {self._size} slices, fewer than one batch of {phase.batch}",
                    accepted=f"phases[{number}].batch up to {self._size}",
                    remedy="or set sampling.slices_per_epoch",
                )
            if phase.batch % self._shards:
                raise UsageError(
                    f"a batch of {phase.batch} slices for {self._shards} workers",
                    accepted=f"phases[{number}].batch that is a multiple of {self._shards}",
                )

    # --- state ----------------------------------------------------------------------------

    def restore(self) -> None:
        """Go back to the end of the last epoch that was saved; from the beginning if none was."""
        path = self._output / _CHECKPOINT
        if not path.exists():
            self._console.print(f"no epoch was saved in {self._output}: starting from the first")
            return
        checkpoint, arrays = read_checkpoint(path)
        if checkpoint.identity != self._identity():
            raise InputError(
                f"the checkpoint {path} is of another configuration, dataset or split",
                accepted="the same ones; [machine] may change",
                remedy="train anew into another --output, without --resume",
            )
        self._history = checkpoint.history
        self._best = {
            name.removeprefix(f"{_BEST}/"): arrays.pop(name)
            for name in list(arrays)
            if name.startswith(f"{_BEST}/")
        }
        self._hardness = arrays.pop("hardness", None)
        self._learner.restore(arrays)
        for row in self._history:
            self._progress.epoch(row)

    def _write(self) -> None:
        arrays = self._learner.state() | {f"{_BEST}/{k}": v for k, v in self._best.items()}
        if self._hardness is not None:
            arrays["hardness"] = self._hardness
        checkpoint = Checkpoint(identity=self._identity(), history=self._history)
        write_checkpoint(self._output / _CHECKPOINT, checkpoint, arrays)
        write_logs(self._output, self._history)

    def _identity(self) -> str:
        """Hash what determines the result; where it is computed does not."""
        same = msgspec.structs.replace(
            self._config, machine=type(self._config.machine)(), data=None, split=None
        )
        parts = (msgspec.json.encode(same), msgspec.json.encode(self._split), self._precision)
        digest = hashlib.sha256(self._dataset.sha256.encode())
        for part in parts:
            digest.update(part.encode() if isinstance(part, str) else part)
        return digest.hexdigest()

    def save(self) -> Training:
        """Write the best weights as the inference model, and ``training.json``."""
        model = self._learner.inference_model(self._best, SIDE)
        path = self._output / f"{self._task}.keras"
        temporary = self._output / f".{self._task}.keras"  # Keras wants this suffix
        if self._shard == 0:
            model.save(temporary)
            temporary.replace(path)
        result = Training(
            task=self._task,
            config=self._config,
            dataset_sha256=self._dataset.sha256,
            split=self._split,
            model_sha256=hashlib.sha256(path.read_bytes()).hexdigest() if self._shard == 0 else "",
            parameters=model.count_params(),
            precision=self._precision,
            best=next(row for row in reversed(self._history) if row.best),
            epochs=len(self._history),
            seconds=sum(row.seconds + row.validation_seconds for row in self._history),
            versions={
                "scanside": scanside.__version__ if hasattr(scanside, "__version__") else "",
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        )
        if self._shard == 0:
            encoded = msgspec.json.format(msgspec.json.encode(result), indent=2)
            write_atomic(self._output / "training.json", encoded + b"\n")
        return result


def _check_output(output: Path, *, resume: bool) -> None:
    if resume and not output.is_dir():
        raise UsageError(
            f"--resume was given, and the folder {output} is not there",
            accepted="the --output of the run that was interrupted",
        )
    if not resume and (output / _CHECKPOINT).exists():
        raise OutputError(
            f"the folder {output} holds a training run",
            remedy="go on with it by --resume, or give another --output",
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output} could not be made: {error.strerror}") from error


def _phantoms(config: Config) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    if not config.sampling.phantom_share:
        return None
    patients = -(-config.sampling.phantoms // _PHANTOM_SLICES)
    pieces = [
        piece
        for number in range(patients)
        for piece in generate_patient(_PHANTOM_SEED + number, slices=_PHANTOM_SLICES)
    ]
    return np.stack([piece.image for piece in pieces]), np.stack([piece.mask for piece in pieces])
