"""Batches for training: drawn, varied and stacked in threads, the same for any number of them."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from scanside_training.augment import augment
from scanside_training.sampling import draw_epoch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from scanside_training.config import AugmentConfig, SamplingConfig
    from scanside_training.pool import SlicePool

    Batch = tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]

__all__ = ["DataGenerator", "Prefetcher"]


class DataGenerator(keras.utils.PyDataset):  # type: ignore[misc]
    """The training batches of one epoch after the other.

    Every slice has a random generator of its own, seeded with (seed, epoch, position): the
    batches are the same for any number of workers, and a resumed run goes on where it stopped.

    Parameters
    ----------
    pool
        The slices.
    batch
        Slices a batch, over all shards. The last, smaller batch of an epoch is left out: batch
        statistics of two slices are none.
    sampling, augmentation
        What is drawn, and how it is varied.
    seed
        Seed of both.
    shard, shards
        Which equal part of every batch this process sees, and of how many.
    workers
        Threads, when Keras's own `fit` runs the generator.

    Attributes
    ----------
    epoch
        The epoch whose batches are served; `on_epoch_end` and `start` change it.
    hardness
        ``[real]``: false response by slice for hard negatives, or none.
    """

    def __init__(  # noqa: PLR0913 - all of it is needed, by keyword
        self,
        pool: SlicePool,
        *,
        batch: int,
        sampling: SamplingConfig,
        augmentation: AugmentConfig,
        seed: int,
        shard: int = 0,
        shards: int = 1,
        workers: int = 2,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=False)
        self.pool = pool
        self._batch = batch
        self._sampling = sampling
        self._augmentation = augmentation
        self._seed = seed
        self._shard = shard
        self._shards = shards
        self.hardness: NDArray[np.float32] | None = None
        self.start(0)

    def start(self, epoch: int) -> None:
        """Draw the slices of an epoch."""
        self.epoch = epoch
        self._order = draw_epoch(
            self.pool.positive,
            self.pool.real,
            self._sampling,
            np.random.default_rng([self._seed, epoch]),
            self.hardness,
        )

    def on_epoch_end(self) -> None:
        """Go on to the next epoch (called by Keras's `fit`)."""
        self.start(self.epoch + 1)

    def __len__(self) -> int:
        return len(self._order) // self._batch

    def __getitem__(self, index: int) -> Batch:
        """Return a batch.

        Parameters
        ----------
        index
            Number of the batch in the epoch.

        Returns
        -------
        images : ndarray of uint8
            ``[B, S, S, 3]``.
        targets : dict
            ``label`` float32 ``[B, 1]`` (1: tumour) and ``mask`` uint8 ``[B, S, S, 1]``. The
            label is the slice's own: moving it does not change it.
        """
        first = index * self._batch
        positions = range(first + self._shard, first + self._batch, self._shards)
        pairs = [self._sample(position) for position in positions]
        labels = self.pool.positive[self._order[list(positions)]]
        return np.stack([image for image, _ in pairs]), {
            "label": labels.astype(np.float32)[:, np.newaxis],
            "mask": np.stack([mask for _, mask in pairs])[..., np.newaxis],
        }

    def _sample(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image, mask = self.pool[int(self._order[position])]
        rng = np.random.default_rng([self._seed, self.epoch, position])
        return augment(image, mask, self._augmentation, rng)


class Prefetcher:
    """Serve a generator's batches in order, made ahead in threads, and time the waiting.

    Parameters
    ----------
    generator
        Any sequence of batches.
    workers
        Threads; OpenCV and NumPy release the interpreter while they work.

    Attributes
    ----------
    waited
        Seconds that the consumer has waited for data so far.
    """

    def __init__(self, generator: keras.utils.PyDataset, workers: int) -> None:
        self._generator = generator
        self._workers = workers
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        ahead: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for index in range(len(self._generator)):
                    ahead.append(pool.submit(self._generator.__getitem__, index))
                    if len(ahead) > 2 * self._workers:
                        yield self._take(ahead)
                while ahead:
                    yield self._take(ahead)
            finally:
                for future in ahead:
                    future.cancel()

    def _take(self, ahead: deque[Future[Batch]]) -> Batch:
        begin = time.perf_counter()
        batch = ahead.popleft().result()
        self.waited += time.perf_counter() - begin
        return batch
