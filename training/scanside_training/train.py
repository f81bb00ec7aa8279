"""A training run from its inputs to the model that is exported."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal

import cv2
import msgspec
from msgspec import Struct

from scanside.errors import InputError, InternalError, OutputError, UsageError
from scanside.evaluation.dataset import index_dataset
from scanside.evaluation.splits import Split, check_split, read_split
from scanside.preprocess import SIDE
from scanside.writers.files import write_atomic
from scanside_training.checkpoint import Epoch  # noqa: TC001 - a field of a struct
from scanside_training.config import Config, MachineConfig
from scanside_training.initial import load_initial
from scanside_training.learner import Learner
from scanside_training.machine import prepare, resolve_precision, shard_of
from scanside_training.material import gather
from scanside_training.run import CHECKPOINT, Job, Run
from scanside_training.sampling import epoch_size

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    from rich.console import Console

__all__ = ["TRAINING_SCHEMA", "Training", "check_batches", "train"]

TRAINING_SCHEMA: Final = "scanside.training/1"

_PACKAGES: Final = ("scanside", "tensorflow", "keras", "numpy")


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
    initial_sha256
        Hash of the weights that it started from, if not random ones.
    model_sha256
        Hash of the saved model; none in a worker that is not the first.
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

    schema: Literal["scanside.training/1"] = TRAINING_SCHEMA
    task: str
    config: Config
    dataset_sha256: str
    split: Split
    initial_sha256: str | None
    model_sha256: str | None
    parameters: int
    precision: str
    best: Epoch
    epochs: int
    seconds: float
    versions: dict[str, str]


def train(
    config: Config,
    *,
    data: Path,
    split_file: Path,
    output: Path,
    console: Console,
    initial: Path | None = None,
    resume: bool = False,
) -> Training:
    """Train a model.

    Parameters
    ----------
    config
        What to train, and how. Its paths are not looked at: they are the arguments below.
    data
        Folder of the labelled slices.
    split_file
        The split of its patients.
    output
        Folder of the results: ``<task>.keras``, ``training.json``, ``log.csv``, ``log.jsonl``
        and ``checkpoint.npz``.
    console
        Where progress goes.
    initial
        Weights to start from; see `load_initial`.
    resume
        Go on from the checkpoint in `output`.

    Returns
    -------
    Training
        What was written to ``training.json``.

    Raises
    ------
    InputError
        If the dataset, the split or the initial weights are not accepted, or the checkpoint is
        of another run.
    UsageError
        If the configuration cannot be run here, or the loss becomes infinite or NaN.
    OutputError
        If `output` holds another run, or cannot be written.
    """
    _check_output(output, resume=resume)
    strategy = prepare(config.machine, config.seed)
    precision = resolve_precision(config.machine.precision)
    shard, shards = shard_of(config.machine)
    dataset = index_dataset(data)
    split = read_split(split_file)
    check_split(split, dataset)
    material = gather(config, dataset, split)
    size = epoch_size(material.positive, config.sampling)
    check_batches(config, size, shards)
    steps = [size // phase.batch for phase in config.phases]
    learner = Learner(
        config,
        steps=sum(n * phase.epochs for n, phase in zip(steps, config.phases, strict=True)),
        warmup=config.optimizer.warmup_epochs * steps[0],
        precision=precision,
        strategy=strategy,
        workers=shards,
    )
    console.print(
        f"{config.task}: {learner.model.count_params():,} parameters in training, {size} slices an"
        f" epoch, {precision}, {strategy.num_replicas_in_sync} replica(s)"
    )
    if initial is not None:
        load_initial(learner.model, initial)
        learner.reset_averages()
    initial_sha256 = _sha256(initial) if initial is not None else None
    identity = _identity(config, split, initial_sha256, precision)
    run = Run(Job(config, material, identity, output, console, shard, shards, size), learner)
    if resume:
        run.restore()
    run.fit()
    if not run.best:
        raise InternalError("no epoch of the last phase has a validation metric")
    model = learner.inference_model(run.best, SIDE)
    file = output / f"{config.task}.keras"
    if shard == 0:
        _save_model(model, file)
    result = Training(
        task=config.task,
        config=config,
        dataset_sha256=dataset.sha256,
        split=split,
        initial_sha256=initial_sha256,
        model_sha256=_sha256(file) if shard == 0 else None,
        parameters=model.count_params(),
        precision=precision,
        best=next(row for row in reversed(run.history) if row.best),
        epochs=len(run.history),
        seconds=round(sum(row.seconds + row.validation_seconds for row in run.history), 1),
        versions={name: version(name) for name in _PACKAGES}
        | {"opencv": cv2.__version__, "python": platform.python_version()},
    )
    if shard == 0:
        encoded = msgspec.json.format(msgspec.json.encode(result), indent=2)
        write_atomic(output / "training.json", encoded + b"\n")
    return result


def check_batches(config: Config, size: int, workers: int) -> None:
    """Refuse batches that an epoch of `size` slices, or a number of workers, cannot be cut into.

    Raises
    ------
    UsageError
        If a batch is larger than an epoch, or no multiple of `workers`.
    """
    for number, phase in enumerate(config.phases):
        if phase.batch > size:
            raise UsageError(
                f"an epoch has {size} slices, fewer than one batch of {phase.batch}",
                accepted=f"phases[{number}].batch up to {size}",
                remedy="or set sampling.slices_per_epoch",
            )
        if phase.batch % workers:
            raise UsageError(
                f"a batch of {phase.batch} slices for {workers} workers",
                accepted=f"phases[{number}].batch that is a multiple of {workers}",
            )


def _check_output(output: Path, *, resume: bool) -> None:
    if resume and not output.is_dir():
        raise UsageError(
            f"--resume was given, and the folder {output} is not there",
            accepted="the --output of the run that was interrupted",
        )
    if not resume and (output / CHECKPOINT).exists():
        raise OutputError(
            f"the folder {output} holds a training run",
            remedy="go on with it by --resume, or give another --output",
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output} could not be made: {error.strerror}") from error


def _identity(config: Config, split: Split, initial: str | None, precision: str) -> str:
    """Hash what determines the result: the machine does not, and the split names the dataset."""
    same = msgspec.structs.replace(
        config, machine=MachineConfig(), data=None, split=None, initial=initial
    )
    encoded = msgspec.json.encode([same, split, precision])
    return hashlib.sha256(encoded).hexdigest()


def _save_model(model: keras.Model, path: Path) -> None:
    temporary = path.with_name(f".{path.name}")  # Keras wants the suffix
    try:
        model.save(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}") from error


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror}") from error
