"""A model that learns: one optimisation step, the moving average, and their state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from scanside.errors import UsageError
from scanside_training.machine import build_policy
from scanside_training.tasks import build_models, training_loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scanside_training.config import Config
    from scanside_training.pool import SlicePool

    Arrays = dict[str, NDArray[Any]]
    Targets = dict[str, NDArray[Any]]
    Tensors = dict[str, tf.Tensor]

__all__ = ["Learner"]

_AVERAGE_WARMUP = 10.0
"""The decay grows as (1 + step) / (10 + step) up to its value, so that the first averages do not
remember the random initial weights (as in TensorFlow's ExponentialMovingAverage)."""


class Learner:
    """The training model, its optimizer, and the moving average of its variables.

    Parameters
    ----------
    config
        Model, loss and optimizer.
    steps, warmup
        Steps of the whole run, and of its warm-up.
    precision
        ``float32`` or ``bfloat16``.
    strategy
        Where the variables live.
    workers
        Number of processes that train together.
    """

    def __init__(
        self,
        config: Config,
        *,
        steps: int,
        warmup: int,
        precision: str,
        strategy: tf.distribute.Strategy,
        workers: int = 1,
    ) -> None:
        self._config = config
        self._replicas = strategy.num_replicas_in_sync // workers
        self._strategy = strategy
        self._loss = training_loss(config)
        with strategy.scope(), build_policy(precision):
            # With an open side one set of weights serves every phase.
            self.model = build_models(config, None).training
            self.optimizer = _optimizer(config, self.model, steps=steps, warmup=warmup)
        with build_policy("float32"):
            self._averaged = build_models(config, None).inference
        self._average = [tf.Variable(value, trainable=False) for value in self._values()]
        self._step = tf.function(self._distributed_step)
        self._update = tf.function(self._update_average)
        self._infer = tf.function(lambda image: self._averaged(image, training=False))

    def step(self, images: NDArray[np.uint8], targets: Targets) -> float:
        """Learn from this worker's part of a batch; return the loss over all of it.

        Raises
        ------
        UsageError
            If the batch cannot be divided among the replicas.
        """
        loss = float(self._step(*self._distribute(images, targets)))
        self._update()
        return loss

    def predict(
        self, pool: SlicePool, numbers: NDArray[np.int64], batch: int
    ) -> NDArray[np.float32]:
        """Return the averaged model's probabilities for slices of a pool.

        Parameters
        ----------
        pool, numbers
            The slices, and which of them, ``[N]``.
        batch
            Slices at once.

        Returns
        -------
        ndarray of float32
            ``[N]`` of the classifier, ``[N, S, S]`` of the segmenter.
        """
        self._assign(self._averaged, self.averages())
        parts = []
        for chunk in _chunks(numbers, batch):
            images = np.stack([pool[int(number)][0] for number in chunk])
            parts.append(self._infer(tf.convert_to_tensor(images)).numpy())
        outputs: NDArray[np.float32] = np.concatenate(parts)
        return outputs[..., 0]

    def averages(self) -> Arrays:
        """Return the averaged variables by path."""
        paths = (variable.path for variable in self.model.variables)
        return {path: value.numpy() for path, value in zip(paths, self._average, strict=True)}

    def reset_averages(self) -> None:
        """Let the averages start from the variables as they are now."""
        for average, value in zip(self._average, self._values(), strict=True):
            average.assign(value)

    def inference_model(self, averages: Arrays, side: int) -> keras.Model:
        """Build the float32 inference model of one size with these averaged variables."""
        with build_policy("float32"):
            model = build_models(self._config, side).inference
        self._assign(model, averages)
        return model

    def state(self) -> Arrays:
        """Return everything that changes from step to step."""
        state = {f"model/{item.path}": np.asarray(item.numpy()) for item in self.model.variables}
        for number, item in enumerate(self.optimizer.variables):
            state[f"optimizer/{number}"] = np.asarray(item.numpy())
        return state | {f"average/{path}": value for path, value in self.averages().items()}

    def restore(self, state: Arrays) -> None:
        """Go back to what `state` returned."""
        for item, average in zip(self.model.variables, self._average, strict=True):
            item.assign(state[f"model/{item.path}"])
            average.assign(state[f"average/{item.path}"])
        for number, item in enumerate(self.optimizer.variables):
            item.assign(state[f"optimizer/{number}"])

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.learning_rate)

    def _values(self) -> list[tf.Tensor]:
        return [tf.convert_to_tensor(variable.value) for variable in self.model.variables]

    def _distributed_step(self, images: tf.Tensor, targets: Tensors) -> tf.Tensor:
        losses = self._strategy.run(self._replica_step, args=(images, targets))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _replica_step(self, images: tf.Tensor, targets: Tensors) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            # The optimizer adds the replicas' gradients up.
            loss = self._loss(targets, outputs) / self._strategy.num_replicas_in_sync
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        if self._strategy.num_replicas_in_sync > 1:
            self._agree()
        return loss

    def _agree(self) -> None:
        """Average the batch statistics over the replicas: each has seen its part of the batch."""
        statistics = self.model.non_trainable_variables
        values = [tf.convert_to_tensor(item.value) for item in statistics]
        together = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.MEAN, tf.concat([tf.reshape(v, [-1]) for v in values], axis=0)
        )
        parts = tf.split(together, [value.shape.num_elements() for value in values])
        for item, value, part in zip(statistics, values, parts, strict=True):
            item.assign(tf.reshape(part, value.shape))

    def _update_average(self) -> None:
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations.value), tf.float32)
        decay = tf.minimum(self._config.optimizer.ema_decay, (1 + step) / (_AVERAGE_WARMUP + step))
        for average, value in zip(self._average, self._values(), strict=True):
            average.assign(average * decay + (1 - decay) * value)

    def _distribute(self, images: NDArray[np.uint8], targets: Targets) -> tuple[tf.Tensor, Tensors]:
        replicas = self._replicas
        if len(images) % replicas:
            raise UsageError(
                f"a worker's part of a batch has {len(images)} slices for {replicas} replicas",
                accepted="phases[].batch that is a multiple of the number of replicas",
            )
        if replicas == 1:
            return tf.convert_to_tensor(images), {
                name: tf.convert_to_tensor(value) for name, value in targets.items()
            }
        arrays = {"image": images, **targets}
        values = {name: self._split(np.split(array, replicas)) for name, array in arrays.items()}
        return values.pop("image"), values

    def _split(self, parts: list[NDArray[Any]]) -> tf.Tensor:
        served = iter(parts)
        return self._strategy.experimental_distribute_values_from_function(
            lambda _: tf.convert_to_tensor(next(served))
        )

    @staticmethod
    def _assign(model: keras.Model, values: Arrays) -> None:
        for variable in model.variables:
            variable.assign(values[variable.path])


def _optimizer(
    config: Config, model: keras.Model, *, steps: int, warmup: int
) -> keras.optimizers.Optimizer:
    settings = config.optimizer
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=max(1, steps - warmup),
        alpha=settings.final_share,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    return optimizer


def _chunks(numbers: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
