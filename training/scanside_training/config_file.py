"""Read a training configuration: one TOML file, checked before anything is loaded.

An error names the path of the key (``$.phases[0].side``).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from scanside.contract import field_path
from scanside.errors import UsageError
from scanside_training.config import ClassifierConfig, Config, SegmenterConfig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["parse_config", "read_config"]


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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration {path} could not be read: {error}") from error
    try:
        return parse_config(text, task)
    except UsageError as error:
        raise UsageError(
            f"the configuration {path}: {error.given}",
            accepted=error.accepted,
            remedy=error.remedy,
        ) from error


def parse_config(text: str, task: str) -> Config:
    """Parse and check the text of a configuration; see `read_config`."""
    try:
        table = _toml(text)
    except ValueError as error:  # tomllib.TOMLDecodeError is one
        raise UsageError(f"not TOML: {error}") from error
    try:
        config: Config = msgspec.convert(table, type=ClassifierConfig | SegmenterConfig)
    except msgspec.ValidationError as error:
        problem, path = field_path(error)
        raise UsageError(
            f"{problem} - at `{path}`",
            remedy="see the keys in scanside_training.config, and scanside_training/configs/",
        ) from error
    if config.task != task:
        raise UsageError(
            f'it has task = "{config.task}", and a {task} is to be trained',
            accepted=f'task = "{task}"',
        )
    return config


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    table: dict[str, Any] = tomllib.loads(text)
    return table
