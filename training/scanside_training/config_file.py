"""Read a training configuration: one TOML file, checked before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.errors import UsageError
from scanside.tomlfile import parse_toml, read_toml
from scanside_training.config import ClassifierConfig, Config, SegmenterConfig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["parse_config", "read_config"]

_REMEDY: Final = "see the keys in scanside_training.config, and scanside_training/configs/"


def read_config(path: Path, task: str) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path
        A TOML file.
    task
        ``classifier`` or ``segmenter``: what is to be trained; the file must say the same.

    Raises
    ------
    UsageError
        If the file cannot be read, is no TOML, or is not of the schema: the message names the
        path of the key.
    """
    config: Config = read_toml(
        path,
        ClassifierConfig | SegmenterConfig,  # type: ignore[arg-type]
        what="the configuration",
        remedy=_REMEDY,
    )
    return _of_task(config, task, f"the configuration {path}: ")


def parse_config(text: str, task: str) -> Config:
    """Parse and check the text of a configuration; see `read_config`."""
    config: Config = parse_toml(
        text,
        ClassifierConfig | SegmenterConfig,  # type: ignore[arg-type]
        remedy=_REMEDY,
    )
    return _of_task(config, task, "")


def _of_task(config: Config, task: str, where: str) -> Config:
    if config.task != task:
        raise UsageError(
            f'{where}it has task = "{config.task}", and a {task} is to be trained',
            accepted=f'task = "{task}"',
        )
    return config
