"""The calibration set: what is chosen, and everything that is refused."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toy
from scanside.errors import InputError, UsageError
from scanside.evaluation.dataset import Dataset, index_dataset
from scanside.evaluation.slices import DatasetSlice, load_image
from scanside.evaluation.splits import make_split, write_split
from scanside.preprocess import preprocess
from scanside_calibration.genuine import look_at, refuse_artificial
from scanside_calibration.material import MIN_SLICES, choose, gather
from scanside_training.phantom import generate_patient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_ROWS, _COLUMNS = np.mgrid[:256, :256].astype(np.float32)


def write(root: Path, patients: dict[str, list[NDArray[np.uint8]]]) -> Dataset:
    """A dataset of these images; every second slice is positive."""
    for patient, images in patients.items():
        folder = root / patient
        folder.mkdir(parents=True)
        for number, image in enumerate(images, 1):
            cv2.imwrite(str(folder / f"{patient}_{number}.png"), image[..., ::-1])
            if number % 2 == 0:
                mask = np.zeros(image.shape[:2], np.uint8)
                mask[100:120, 100:120] = 255
                cv2.imwrite(str(folder / f"{patient}_{number}_mask.png"), mask)
    return index_dataset(root)


@pytest.fixture(scope="module")
def heads() -> dict[str, list[NDArray[np.uint8]]]:
    """Phantoms under patients' names: the one thing that tells them is gone."""
    return {f"P{n}": [piece.image for piece in generate_patient(n, slices=20)] for n in range(4)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, heads: dict[str, list]) -> Dataset:  # type: ignore[type-arg]
    return write(tmp_path_factory.mktemp("heads"), heads)


def listed(positives: list[list[bool]]) -> list[DatasetSlice]:
    from pathlib import Path

    return [
        DatasetSlice(f"P{p:02d}", n, Path(f"P{p:02d}_{n}.png"), None, 9 * positive)
        for p, row in enumerate(positives)
        for n, positive in enumerate(row, 1)
    ]


rows = st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=2, max_size=9)


@given(rows, st.integers(MIN_SLICES, 120), st.floats(0, 1), st.integers(0, 9))
def test_the_choice(positives: list[list[bool]], count: int, share: float, seed: int) -> None:
    slices = listed(positives)
    chosen = choose(slices, count=count, positive=share, seed=seed)
    assert len(set(chosen)) == len(chosen) == min(count, len(slices))
    assert list(chosen) == sorted(chosen, key=slices.index)
    assert chosen == choose(slices, count=count, positive=share, seed=seed)
    positive = sum(item.positive for item in chosen)
    there = sum(item.positive for item in slices)
    wanted = round(count * share)
    enough = there >= wanted and len(slices) - there >= count - wanted
    assert not enough or positive == wanted
    for flag in (True, False):
        taken = [sum(i.patient == f"P{p:02d}" and i.positive == flag for i in chosen)
                 for p in range(len(positives))]  # fmt: skip
        held = [row.count(flag) for row in positives]
        # Nobody has two more than another who had slices left.
        assert all(a <= b + 1 for a in taken for b, h in zip(taken, held, strict=True) if b < h)


def test_slices_lie_all_along_a_patients_axis() -> None:
    slices = listed([[False] * 400, [False] * 400])
    numbers = [
        i.number for i in choose(slices, count=80, positive=0.5, seed=1) if i.patient < "P01"
    ]
    assert set(np.diff(numbers)) == {10}


def test_another_seed_chooses_others() -> None:
    slices = listed([[True, False] * 100] * 3)
    first, second = (choose(slices, count=60, positive=0.5, seed=n) for n in (1, 2))
    assert first != second


@pytest.mark.parametrize(
    ("count", "positive"), [(31, 0.5), (0, 0.5), (40, 1.1), (40, float("nan"))]
)
def test_a_choice_that_makes_no_sense_is_refused(count: int, positive: float) -> None:
    with pytest.raises(UsageError, match="were asked for"):
        choose([], count=count, positive=positive, seed=0)


def test_batches_are_the_prepared_images_and_the_hash_is_theirs(dataset: Dataset) -> None:
    found = gather(dataset, None, count=50)
    assert (len(found), found.patients, found.positive) == (50, dataset.patients, 25)
    images = np.stack([preprocess(load_image(item))[0] for item in found.slices])
    for size in (1, 7, 50, 64):
        batches = list(found.batches(size))
        assert {len(batch) for batch in batches[:-1]} <= {size}
        np.testing.assert_array_equal(np.concatenate(batches), images)
    assert found.images_sha256 == hashlib.sha256(images.tobytes()).hexdigest()
    assert found.dataset_sha256 == dataset.sha256
    assert found.split_sha256 is None
    assert gather(dataset, None, count=50, seed=3).images_sha256 != found.images_sha256
    with pytest.raises(UsageError, match="batches of 0"):
        next(found.batches(0))


def test_only_training_patients_are_taken(dataset: Dataset, tmp_path: Path) -> None:
    split = make_split(dataset, seed=1, validation=0.25, test=0.25)
    path = tmp_path / "split.json"
    write_split(path, split)
    found = gather(dataset, path, count=32)
    assert found.patients == split.train
    assert found.split_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_split_of_other_data_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    write_split(path, make_split(dataset._replace(sha256="0" * 64), seed=1))
    with pytest.raises(InputError, match="split was made for the dataset"):
        gather(dataset, path)


def test_a_file_that_changes_is_noticed(tmp_path: Path, heads: dict[str, list]) -> None:  # type: ignore[type-arg]
    found = gather(write(tmp_path, heads), None, count=32)
    item = found.slices[9]
    cv2.imwrite(str(item.image), 255 - load_image(item))
    with pytest.raises(InputError, match="was changed while"):
        list(found.batches(8))


def test_too_few_slices_and_one_patient_are_refused(dataset: Dataset) -> None:
    few = dataset._replace(slices=dataset.slices[5:36])
    with pytest.raises(InputError, match="there are 31 slices"):
        gather(few, None)
    doubled = tuple(i._replace(number=i.number + n) for n in (0, 50) for i in dataset.slices[:20])
    with pytest.raises(InputError, match=r"one patient only \(P0\)"):
        gather(dataset._replace(slices=doubled), None)


def test_the_same_slices_again_do_not_count(dataset: Dataset) -> None:
    few = (*dataset.slices[:10], *dataset.slices[20:30])
    doubled = tuple(i._replace(number=i.number + n) for n in (0, 50) for i in few)
    with pytest.raises(InputError, match=r"20 different slices \(of 40\)"):
        gather(dataset._replace(slices=doubled), None)


def test_phantoms_are_refused_by_their_name(tmp_path: Path, heads: dict[str, list]) -> None:  # type: ignore[type-arg]
    made = write(tmp_path, {name.replace("P", "PHANTOM_000"): h for name, h in heads.items()})
    with pytest.raises(InputError, match="4 of the patients are phantoms"):
        gather(made, None)


def _white(random: np.random.Generator) -> NDArray[np.uint8]:
    return random.integers(0, 256, (256, 256, 3), dtype=np.uint8)


def _blurred(random: np.random.Generator) -> NDArray[np.uint8]:
    noise = cv2.GaussianBlur(random.normal(0, 1, (256, 256, 3)), (0, 0), 6)
    return np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.uint8)


def _one_channel(random: np.random.Generator) -> NDArray[np.uint8]:
    image = toy.lesion_slice(int(random.integers(99)))
    image[..., 0] = random.integers(0, 256, (256, 256))
    return image


def _flat(random: np.random.Generator) -> NDArray[np.uint8]:
    image = np.zeros((256, 256, 3), np.uint8)
    for _ in range(6):
        at, size = random.integers(70, 180, 2), int(random.integers(8, 50))
        cv2.circle(image, at.tolist(), size, random.integers(60, 255, 3).tolist(), -1)
    return image


def _flat_noisy(random: np.random.Generator) -> NDArray[np.uint8]:
    noise = random.normal(0, 6, (256, 256, 3))
    return np.clip(_flat(random) + noise, 0, 255).astype(np.uint8)


def _gradient(random: np.random.Generator) -> NDArray[np.uint8]:
    angle = random.uniform(0, np.pi / 2)
    plane = 120 + 0.25 * (_ROWS * np.sin(angle) + _COLUMNS * np.cos(angle))
    return np.clip(plane[..., None] + random.normal(0, 1, 3), 0, 255).astype(np.uint8)


def _blank(random: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(random.normal(9, 2, (256, 256, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (_white, "noise"), (_blurred, "no dark border"), (_one_channel, "noise"),
        (_flat, "drawn shapes"), (_flat_noisy, "independent noise"),
        (_gradient, "drawn shapes|no dark border"), (_blank, "nearly blank"),
    ],
)  # fmt: skip
def test_artificial_slices_are_refused(
    tmp_path: Path, draw: Callable[[np.random.Generator], NDArray[np.uint8]], message: str
) -> None:
    random = np.random.default_rng(5)
    made = write(tmp_path, {f"A{n}": [draw(random) for _ in range(10)] for n in range(4)})
    with pytest.raises(InputError, match=f"not accepted: .*({message})"):
        gather(made, None)


def test_one_patient_under_several_names_is_refused(
    tmp_path: Path, heads: dict[str, list[NDArray[np.uint8]]]
) -> None:
    random = np.random.default_rng(6)

    def again(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.clip(image + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)

    copies = {name: [again(image) for image in heads["P1"]] for name in ("A", "B", "C")}
    with pytest.raises(InputError, match="one patient under several names"):
        gather(write(tmp_path, copies), None)


@pytest.mark.slow
def test_every_real_patient_passes_every_test_alone(data_root: Path) -> None:
    real = index_dataset(data_root / "lgg")
    assert len(real.patients) > 80
    looks = {item: look_at(preprocess(load_image(item))[0]) for item in real.slices}
    for patient in real.patients:
        mine = real.of([patient])
        refuse_artificial([patient] * len(mine), [looks[item] for item in mine])
    refuse_artificial([item.patient for item in real.slices], [looks[i] for i in real.slices])
    found = gather(real, None)
    assert len(found) == 300
    assert found.patients == real.patients
