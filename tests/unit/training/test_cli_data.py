"""`scanside data` as its users call it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from scanside.evaluation.dataset import index_dataset
from scanside.evaluation.splits import check_split, read_split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return eight patients of three slices; the third has a tumour; P2 lacks post-contrast."""
    random = np.random.default_rng(1)
    for patient in range(8):
        place = tmp_path / "set" / f"P{patient}"
        place.mkdir(parents=True)
        for number in range(1, 4):
            image = random.integers(0, 256, (64, 48, 3), dtype=np.uint8)
            if patient == 2:
                image[..., 0] = image[..., 1]  # OpenCV's order: blue is post-contrast
            if (patient, number) == (3, 1):
                image[:] = 2
            cv2.imwrite(str(place / f"P{patient}_{number}.png"), image)
        mask = np.zeros((64, 48), np.uint8)
        mask[10:20, 5 : 10 + patient] = 255
        cv2.imwrite(str(place / f"P{patient}_3_mask.png"), mask)
    return tmp_path / "set"


def test_index_counts_in_text_and_in_json(scanside: Command, folder: Path) -> None:
    done = scanside("data", "index", folder)
    assert done.code == 0
    assert "P0            3         1         50" in done.out
    assert "8 patients, 24 slices, 8 positive (33.3%)" in done.out
    found = scanside("data", "index", folder, "--format", "json")
    document = json.loads(found.out)
    assert document["schema"] == "scanside.dataset/1"
    assert document["sha256"] == index_dataset(folder).sha256
    assert document["patients"][1] == {
        "patient": "P1",
        "slices": 3,
        "positive": 1,
        "tumor_px": 60,
    }
    assert document["problems"] == []


def test_index_refuses_damage_or_lists_it(scanside: Command, folder: Path) -> None:
    (folder / "P4" / "P4_2.png").write_bytes(b"no image")
    done = scanside("data", "index", folder)
    assert done.code == 3
    assert done.out == ""
    assert "P4/P4_2.png" in done.err
    kept = scanside("data", "index", folder, "--keep-going")
    assert kept.code == 3
    assert "8 patients, 23 slices" in kept.out
    assert "left out (1):\n- P4/P4_2.png" in kept.out
    found = scanside("data", "index", folder, "--keep-going", "--format", "json")
    assert len(json.loads(found.out)["problems"]) == 1


def test_split_writes_a_split_of_the_dataset(
    scanside: Command, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "split.json"
    done = scanside("data", "split", folder, "--output", path, "--seed", 4, "--test", 0.3)
    assert done.code == 0
    assert "train 5 patients, 15 slices, 33% positive; validation 1 patients" in done.out
    split = read_split(path)
    check_split(split, index_dataset(folder))
    assert split.seed == 4
    assert len(split.test) == 2
    again = scanside("data", "split", folder, "--output", path)
    assert again.code == 9
    assert read_split(path) == split
    assert scanside("data", "split", folder, "--output", path, "--overwrite").code == 0
    assert read_split(path).seed == 0


def test_split_into_folds(scanside: Command, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    done = scanside("data", "split", folder, "--output", path, "--folds", 4)
    assert done.code == 0
    folds = [read_split(tmp_path / f"f-{at}.json") for at in range(1, 5)]
    assert sorted(name for fold in folds for name in fold.validation) == [f"P{n}" for n in range(8)]
    assert not path.exists()
    refused = scanside("data", "split", folder, "--output", path, "--folds", 4)
    assert refused.code == 9
    assert "f-1.json" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--folds", 3, "--test", 0.2], "--folds alone"),
        (["--folds", 1], "1 folds of 8 patients"),
        (["--folds", 9], "9 folds of 8 patients"),
        (["--validation", 0.7, "--test", 0.5], "together less than 1"),
    ],
)
def test_a_split_that_makes_no_sense_is_a_usage_error(
    scanside: Command, folder: Path, tmp_path: Path, words: list[object], said: str
) -> None:
    done = scanside("data", "split", folder, "--output", tmp_path / "s.json", *words)
    assert done.code == 2
    assert said in done.err
    assert not list(tmp_path.glob("*.json"))


def test_stats_name_what_stands_out(scanside: Command, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "stats"
    done = scanside("data", "stats", folder, "--output", output)
    assert done.code == 0
    assert "FLAIR in place of another sequence: 1; nearly blank slices: 1" in done.out
    found = json.loads((output / "stats.json").read_bytes())
    rows = {row["patient"]: row for row in found["patients"]}
    assert rows["P2"]["flair_instead_of"] == ["post-contrast"]
    assert rows["P1"]["flair_instead_of"] == []
    assert rows["P3"]["nearly_blank"] == [1]
    assert rows["P3"]["sizes"] == ["48x64"]
    areas = [10 * (5 + patient) for patient in range(8)]
    assert found["tumor_px"]["50"] == np.median(areas)
    assert found["tumor_share"] == pytest.approx(sum(areas) / (24 * 64 * 48))
    assert found["grey_levels"]["FLAIR"]["50"] == pytest.approx(128, abs=12)
    for name in ("patients", "tumor_size", "grey_levels", "where"):
        picture = cv2.imread(str(output / f"{name}.png"))
        assert picture.std() > 5
    assert scanside("data", "stats", folder, "--output", output).code == 9


def test_stats_without_matplotlib_say_what_to_install(
    scanside: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = scanside("data", "stats", folder, "--output", tmp_path / "stats")
    assert done.code == 8
    assert "pip install 'scanside[report]'" in done.err
    assert not (tmp_path / "stats").exists()


def test_the_group_lists_its_commands(scanside: Command) -> None:
    done = scanside("data", "--help")
    assert done.code == 0
    for name in ("index", "phantom", "split", "stats"):
        assert f"\n  {name} " in done.out
    assert scanside("data", "nothing").code == 2
