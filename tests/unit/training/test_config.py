from __future__ import annotations

from pathlib import Path

import pytest

from scanside.errors import UsageError
from scanside_training.config import ClassifierConfig, SegmenterConfig
from scanside_training.config_file import parse_config, read_config

SHORTEST = 'task = "segmenter"\nphases = [{ side = 256, epochs = 3 }]\n'
CONFIGS = Path(__file__).resolve().parents[3] / "training" / "scanside_training" / "configs"


def test_what_is_left_out_has_a_default() -> None:
    config = parse_config(SHORTEST, "segmenter")
    assert isinstance(config, SegmenterConfig)
    assert config.epochs == 3
    assert config.model.filters == (16, 32, 64, 128, 256)
    assert config.loss.name == "dice-cross-entropy"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_configurations_of_the_project_are_valid(path: Path) -> None:
    task = "classifier" if "classifier" in path.stem else "segmenter"
    assert read_config(path, task).task == task


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SHORTEST + "seeds = 3\n", "`seeds`"),
        (SHORTEST + "[optimizer]\nlearning_rate = -1.0\n", "`$.optimizer.learning_rate`"),
        (SHORTEST + '[loss]\nname = "dice"\n', "`$.loss.name`"),
        (SHORTEST + "[augment]\nflip_horizontal = 1.5\n", "`$.augment.flip_horizontal`"),
        ('task = "segmenter"\nphases = []\n', "`$.phases`"),
        ('task = "segmenter"\n', "`phases`"),
        ('task = "detector"\n', "'detector'"),
        ('task = "segmenter"\nphases = [{ side = 100, epochs = 1 }]\n', "`$.phases[0].side`"),
        ('task = "segmenter"\nphases = [{ side = 128, epochs = 1 }]\n', "last phase"),
        ("task = \n", "not TOML"),
    ],
)
def test_an_error_names_the_key(text: str, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(text, "segmenter")
    assert found in str(caught.value)


def test_the_task_of_the_file_must_be_the_one_asked_for() -> None:
    with pytest.raises(UsageError, match='task = "segmenter", and a classifier'):
        parse_config(SHORTEST, "classifier")


def test_tasks_have_their_own_model() -> None:
    text = 'task = "classifier"\nphases = [{ epochs = 1 }]\n[model]\nwidth = 0.25\n'
    config = parse_config(text, "classifier")
    assert isinstance(config, ClassifierConfig)
    assert config.model.width == 0.25
    with pytest.raises(UsageError, match="attention"):
        parse_config(text + "attention = true\n", "classifier")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        read_config(tmp_path / "absent.toml", "segmenter")


def test_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("task = 3\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine\.toml"):
        read_config(path, "segmenter")
