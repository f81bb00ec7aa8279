from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.errors import InputError, OutputError, UsageError
from scanside.evaluation.dataset import Dataset, DatasetSlice
from scanside.evaluation.splits import (
    Split,
    check_split,
    make_folds,
    make_split,
    read_split,
    write_split,
)

SHA = "0" * 64
NOWHERE = Path("nowhere.tif")


def _dataset(tumors: list[int], sha256: str = SHA) -> Dataset:
    """Return patients with one slice of each class, and as many tumour pixels as given."""
    slices = [
        DatasetSlice(f"P{at:03}", number, NOWHERE, None, area)
        for at, tumor in enumerate(tumors)
        for number, area in ((1, 0), (2, tumor))
    ]
    return Dataset(Path("set"), tuple(slices), sha256, ())


datasets = st.lists(st.integers(1, 5000), min_size=5, max_size=40).map(_dataset)


@given(datasets, st.integers(0, 2**40), st.floats(0.01, 0.4), st.floats(0, 0.4))
def test_every_patient_is_in_one_part(
    dataset: Dataset, seed: int, validation: float, test: float
) -> None:
    split = make_split(dataset, seed=seed, validation=validation, test=test)
    everyone = split.train + split.validation + split.test
    assert sorted(everyone) == list(dataset.patients)
    count = len(dataset.patients)
    assert len(split.validation) == max(1, round(count * validation))
    assert len(split.test) == (max(1, round(count * test)) if test else 0)
    check_split(split, dataset)


@given(datasets, st.integers(0, 1000))
def test_a_seed_gives_one_split_whatever_the_order(dataset: Dataset, seed: int) -> None:
    shuffled = dataset._replace(slices=dataset.slices[::-1])
    assert make_split(dataset, seed=seed) == make_split(shuffled, seed=seed)


def test_a_split_is_the_same_on_every_machine_and_version() -> None:
    split = make_split(_dataset(list(range(1, 21))), seed=1)
    assert split.validation == ("P003", "P007", "P014")
    assert split.test == ("P002", "P012", "P015")


def test_seeds_differ() -> None:
    dataset = _dataset(list(range(1, 41)))
    assert len({make_split(dataset, seed=seed).test for seed in range(20)}) == 20


@given(st.lists(st.integers(1, 5000), min_size=20, max_size=40, unique=True), st.integers(0, 1000))
def test_the_test_part_spans_the_range_of_tumours(tumors: list[int], seed: int) -> None:
    dataset = _dataset(tumors)
    split = make_split(dataset, seed=seed, test=0.2)
    ranks = {
        name: rank
        for rank, (_, name) in enumerate(
            sorted((item.tumor_px, item.patient) for item in dataset.slices if item.positive)
        )
    }
    drawn = sorted(ranks[name] for name in split.test)
    count, parts = len(tumors), len(drawn)
    assert all(
        at * count // parts <= rank < (at + 1) * count // parts for at, rank in enumerate(drawn)
    )


@given(datasets, st.integers(0, 1000), st.data())
def test_folds_hold_everyone_once(dataset: Dataset, seed: int, data: st.DataObject) -> None:
    folds = data.draw(st.integers(2, len(dataset.patients)))
    splits = make_folds(dataset, seed=seed, folds=folds)
    assert len(splits) == folds
    held_out = [name for split in splits for name in split.validation]
    assert sorted(held_out) == list(dataset.patients)
    sizes = [len(split.validation) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert split.test == ()
        assert sorted(split.train + split.validation) == list(dataset.patients)
    assert splits == make_folds(dataset, seed=seed, folds=folds)


@pytest.mark.parametrize("folds", [-1, 0, 1, 6])
def test_impossible_folds_are_refused(folds: int) -> None:
    with pytest.raises(UsageError, match=f"{folds} folds of 5 patients"):
        make_folds(_dataset([1] * 5), seed=0, folds=folds)


@pytest.mark.parametrize(
    ("validation", "test"),
    [(0, 0.1), (1, 0), (0.5, 0.5), (-0.1, 0), (0.1, -0.1), (float("nan"), 0)],
)
def test_shares_that_are_none_are_refused(validation: float, test: float) -> None:
    with pytest.raises(UsageError, match="0 < validation < 1"):
        make_split(_dataset([1] * 9), seed=0, validation=validation, test=test)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match=r"train part \(0 patients"):
        make_split(_dataset([5, 6]), seed=0)


def test_a_split_survives_the_file(tmp_path: Path) -> None:
    dataset = _dataset([3, 1, 4, 1, 5])
    split = make_split(dataset, seed=3)
    path = tmp_path / "new" / "split.json"
    write_split(path, split)
    assert read_split(path) == split
    assert msgspec.json.decode(path.read_bytes())["schema"] == "scanside.split/1"
    assert [entry.name for entry in path.parent.iterdir()] == ["split.json"]


def test_a_split_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"split\.json"):
        write_split(tmp_path / "file" / "split.json", make_split(_dataset([1, 1, 1]), seed=0))
    with pytest.raises(OutputError):
        write_split(tmp_path, make_split(_dataset([1, 1, 1]), seed=0))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


GOOD = {
    "schema": "scanside.split/1",
    "dataset_sha256": SHA,
    "seed": 0,
    "train": ["P000"],
    "validation": ["P001"],
    "test": [],
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "scanside.split/2"}, "schema"),
        ({"dataset_sha256": "abc"}, "dataset_sha256"),
        ({"train": "P000"}, "train"),
        ({"extra": 1}, "extra"),
        ({"test": ["P001"]}, "P001 in validation and in test"),
        ({"train": ["P000", "P000"]}, "P000 in train and in train"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(msgspec.json.encode(GOOD))
    assert read_split(path).train == ("P000",)
    path.write_bytes(msgspec.json.encode(GOOD | change))
    with pytest.raises(InputError, match=words):
        read_split(path)


def test_no_file_and_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be read"):
        read_split(tmp_path / "split.json")
    (tmp_path / "split.json").write_text("{")
    with pytest.raises(InputError, match="not accepted"):
        read_split(tmp_path / "split.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": ("P000", "P001")}, "P001 in train and in validation"),
        ({"train": ("P000", "X")}, "names X, not among the dataset's 4"),
        ({"dataset_sha256": "1" * 64}, "made for the dataset 111111111111"),
        ({"train": ()}, "train part"),
        ({"validation": ()}, "validation part"),
        ({"test": ("P003",)}, r"test part .* 0 positive and 2 negative"),
    ],
)
def test_a_split_of_something_else_is_refused(change: dict[str, object], words: str) -> None:
    dataset = _dataset([1, 2, 3, 0])
    good = Split(dataset_sha256=SHA, seed=0, train=("P000",), validation=("P001",), test=("P002",))
    check_split(good, dataset)
    with pytest.raises(InputError, match=words):
        check_split(msgspec.structs.replace(good, **change), dataset)


def test_real_data_gives_parts_of_the_same_mix(lgg: Dataset) -> None:
    for seed in range(5):
        split = make_split(lgg, seed=seed)
        for part in (split.train, split.validation, split.test):
            slices = lgg.of(part)
            share = sum(item.positive for item in slices) / len(slices)
            tumor = sum(item.tumor_px for item in slices) / len(slices)
            assert share == pytest.approx(0.351, abs=0.06)
            assert tumor == pytest.approx(705, rel=0.25)
