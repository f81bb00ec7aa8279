"""``scanside train``: a Keras model from labelled slices."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from scanside.cli.say import show
from scanside.errors import ExtraNotInstalledError, UsageError

__all__ = ["train"]

CONFIGS: Final = Path(__file__).parents[1] / "configs"
PRESETS: Final = sorted({file.stem.partition("-")[0] for file in CONFIGS.glob("*.toml")})
"""The configurations that ship, as NAME-classifier.toml, NAME-segmenter.toml or both."""


@click.command()
@click.argument("task", type=click.Choice(["classifier", "segmenter"]))
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What to train and how, as TOML.",
)
@click.option(
    "--preset",
    metavar="NAME",
    help=f"A configuration that ships, in place of --config: {', '.join(PRESETS)}.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of labelled slices; overrides the configuration's.",
)
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Split by `scanside data split`; overrides the configuration's.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the model, training.json, logs and the checkpoint.",
)
@click.option(
    "--initial",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights to start from: a .keras model of a former run, or ImageNet's .h5.",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --output.")
@click.option(
    "--strategy",
    type=click.Choice(["single", "mirrored", "multi-worker"]),
    help="Distribution: one device, this machine's GPUs, or the workers of TF_CONFIG.",
)
def train(  # noqa: PLR0913 - one parameter an option
    *,
    task: str,
    config_file: Path | None,
    preset: str | None,
    data: Path | None,
    split: Path | None,
    output: Path,
    initial: Path | None,
    resume: bool,
    strategy: str | None,
) -> None:
    """Train the slice classifier or the segmenter on labelled slices.

    Writes TASK.keras (the best averaged weights by validation, for `scanside export`),
    training.json, log.csv, log.jsonl and a checkpoint after each epoch: after an interruption,
    the same command with --resume goes on and loses at most one epoch.
    """
    config_file = _config_file(task, config_file, preset)
    _require("tensorflow")
    import msgspec
    from rich.console import Console

    from scanside.writers.files import write_atomic
    from scanside_training.config_file import read_config

    config = read_config(config_file, task)
    if strategy is not None:
        machine = msgspec.structs.replace(config.machine, strategy=strategy)
        config = msgspec.structs.replace(config, machine=machine)
    data = data or _beside(config_file, config.data, "data", "FOLDER")
    split = split or _beside(config_file, config.split, "split", "FILE")
    if initial is None and config.initial is not None:
        initial = config_file.parent / config.initial

    from scanside_training.train import train as run

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    result = run(
        config,
        data=data,
        split_file=split,
        output=output,
        console=console,
        initial=initial,
        resume=resume,
    )
    write_atomic(output / "config.toml", config_file.read_bytes())
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in result.best.validation.items())
    show(
        [
            f"{output / task}.keras: {result.parameters:,} parameters,"
            f" best epoch {result.best.epoch + 1} of {result.epochs}, validation {metrics}"
        ]
    )


def _config_file(task: str, given: Path | None, preset: str | None) -> Path:
    if (given is None) == (preset is None):
        raise click.UsageError("give either --config FILE or --preset NAME")
    if given is not None:
        return given
    shipped = CONFIGS / f"{preset}-{task}.toml"
    if preset not in PRESETS or not shipped.is_file():
        names = [name for name in PRESETS if (CONFIGS / f"{name}-{task}.toml").is_file()]
        raise click.UsageError(f"--preset {preset}; accepted for a {task}: {', '.join(names)}")
    return shipped


def _beside(config_file: Path, value: str | None, name: str, kind: str) -> Path:
    """Return a path of the configuration, which is relative to the file itself."""
    if value is None:
        raise UsageError(
            f"neither --{name} nor the configuration says where the {name} is",
            accepted=f"--{name} {kind}, or the key {name} in {config_file}",
        )
    return config_file.parent / value


def _require(package: str) -> None:
    """Import a package of the extra ``train``, or say how to install it."""
    # TensorFlow's C++ side logs about absent GPUs before Python can ask it not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import_module(package)
    except ImportError as error:
        raise ExtraNotInstalledError("scanside train", package=package, extra="train") from error
