from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the extra train")

import keras

from scanside_training.config import AugmentConfig, SamplingConfig
from scanside_training.generator import DataGenerator, Prefetcher
from scanside_training.pool import SlicePool

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def pool(tiny: Any) -> SlicePool:
    return SlicePool(tiny.dataset.slices, side=64)


def generator(pool: SlicePool, **others: Any) -> DataGenerator:
    options: dict[str, Any] = {
        "batch": 4,
        "sampling": SamplingConfig(slices_per_epoch=22),
        "augmentation": AugmentConfig(),
        "seed": 1,
    }
    return DataGenerator(pool, **{**options, **others})


def batches(source: DataGenerator, workers: int) -> list[Any]:
    return list(Prefetcher(source, workers))


def equal(one: Any, other: Any) -> bool:
    return (
        np.array_equal(one[0], other[0])
        and one[1].keys() == other[1].keys()
        and all(np.array_equal(one[1][name], other[1][name]) for name in one[1])
    )


def test_a_batch_is_what_the_models_take(pool: SlicePool) -> None:
    source = generator(pool)
    assert len(source) == 5  # the last two of 22 are left out
    images, targets = source[0]
    assert (images.shape, images.dtype) == ((4, 64, 64, 3), np.uint8)
    assert (targets["label"].shape, targets["label"].dtype) == ((4, 1), np.float32)
    assert (targets["mask"].shape, targets["mask"].dtype) == ((4, 64, 64, 1), np.uint8)


def test_masks_and_labels_agree(pool: SlicePool) -> None:
    source = generator(pool, augmentation=AugmentConfig(affine=0, elastic=0))
    for index in range(len(source)):
        _, targets = source[index]
        assert np.array_equal(targets["mask"].any(axis=(1, 2)), targets["label"] > 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_the_number_of_workers(pool: SlicePool, workers: int) -> None:
    expected = [generator(pool)[index] for index in range(5)]
    found = batches(generator(pool), workers)
    assert all(equal(*pair) for pair in zip(expected, found, strict=True))


def test_epochs_differ_and_can_be_taken_up_again(pool: SlicePool) -> None:
    source = generator(pool)
    first = source[2]
    source.on_epoch_end()
    second = source[2]
    assert not equal(first, second)
    resumed = generator(pool)
    resumed.start(1)
    assert equal(resumed[2], second)


def test_another_seed_gives_other_batches(pool: SlicePool) -> None:
    assert not equal(generator(pool)[0], generator(pool, seed=2)[0])


def test_shards_are_the_parts_of_the_batch(pool: SlicePool) -> None:
    whole, _ = generator(pool)[1]
    parts = [generator(pool, shard=shard, shards=2)[1][0] for shard in (0, 1)]
    assert np.array_equal(whole[0::2], parts[0])
    assert np.array_equal(whole[1::2], parts[1])


def test_keras_fit_takes_it(pool: SlicePool) -> None:
    class Labels(DataGenerator):
        def __getitem__(self, index: int) -> Any:
            images, targets = super().__getitem__(index)
            return images, targets["label"]

    source = Labels(
        pool,
        batch=4,
        sampling=SamplingConfig(slices_per_epoch=8),
        augmentation=AugmentConfig(),
        seed=1,
    )
    image = keras.Input((64, 64, 3), dtype="uint8")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(mean))
    model.compile(loss="binary_crossentropy")
    history = model.fit(source, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    assert source.epoch >= 2  # Keras may draw one more to build the model


class Slow:
    """Batches that take 50 ms each."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[int, str]:
        time.sleep(0.05)
        return index, threading.current_thread().name


def test_prefetching_keeps_the_order_and_times_the_waiting() -> None:
    eager = Prefetcher(Slow(), 1)
    assert [index for index, _ in eager] == list(range(6))
    assert eager.waited > 0.25
    lazy = Prefetcher(Slow(), 2)
    for _ in lazy:
        time.sleep(0.06)  # a consumer that is slower than the two workers
    assert lazy.waited < 0.2


def test_an_error_in_a_worker_reaches_the_consumer() -> None:
    class Broken(Slow):
        def __getitem__(self, index: int) -> tuple[int, str]:
            raise ValueError(f"slice {index}")

    with pytest.raises(ValueError, match="slice 0"):
        list(Prefetcher(Broken(), 2))
