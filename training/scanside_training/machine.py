"""How TensorFlow is set up for a run: threads, precision, determinism, distribution."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import keras
import tensorflow as tf

from scanside.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside_training.config import MachineConfig

__all__ = ["build_policy", "prepare", "resolve_precision", "shard_of"]

_CPU_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux's names for bfloat16 arithmetic on x86 and Arm."""

_AMPERE: Final = 8
"""Major compute capability of the first NVIDIA GPUs with bfloat16."""

_POLICIES: Final = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def prepare(config: MachineConfig, seed: int) -> tf.distribute.Strategy:
    """Set TensorFlow up; must come before anything else uses it.

    Parameters
    ----------
    config
        Threads, determinism and strategy.
    seed
        Of the initial weights.

    Returns
    -------
    tf.distribute.Strategy
        Where the variables live; the default strategy for ``single``.

    Raises
    ------
    UsageError
        If ``multi-worker`` was asked for and ``TF_CONFIG`` is not set, if TensorFlow is already
        running with other threads, or if Keras runs on something else.
    """
    _check_keras()
    if config.threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(config.threads)
            tf.config.threading.set_inter_op_parallelism_threads(config.threads)
        except RuntimeError as error:
            raise UsageError(
                f"TensorFlow already runs with other threads than {config.threads}: {error}",
                remedy="train in a process of its own",
            ) from error
    keras.utils.set_random_seed(seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    if config.strategy == "mirrored":
        return tf.distribute.MirroredStrategy()
    if config.strategy == "multi-worker":
        _cluster()
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def shard_of(config: MachineConfig) -> tuple[int, int]:
    """Return which worker this is, and of how many."""
    if config.strategy != "multi-worker":
        return 0, 1
    cluster = _cluster()
    return cluster.task, cluster.workers


def resolve_precision(asked: str) -> str:
    """Return ``float32`` or ``bfloat16``.

    Parameters
    ----------
    asked
        ``auto`` takes bfloat16 where the hardware computes in it.

    Raises
    ------
    UsageError
        If bfloat16 was asked for and the hardware would emulate it, several times slower.
    """
    able = _has_bfloat16()
    if asked == "bfloat16" and not able:
        raise UsageError(
            "bfloat16 was asked for, and neither the processor (avx512_bf16, amx_bf16, bf16) nor"
            " a GPU (compute capability 8.0 or later) computes in it",
            accepted='machine.precision = "auto" or "float32"',
        )
    if asked == "auto":
        return "bfloat16" if able else "float32"
    return asked


@contextmanager
def build_policy(precision: str) -> Iterator[None]:
    """Build layers in this precision (weights are float32 in either)."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_keras() -> None:
    backend, layout = keras.config.backend(), keras.config.image_data_format()
    if (backend, layout) != ("tensorflow", "channels_last"):
        raise UsageError(
            f"Keras is set to the backend {backend} and {layout}",
            accepted="the backend tensorflow and channels_last",
            remedy="unset KERAS_BACKEND and correct ~/.keras/keras.json",
        )


def _has_bfloat16() -> bool:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
        return all(item.get("compute_capability", (0, 0))[0] >= _AMPERE for item in details)
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return not _CPU_FLAGS.isdisjoint(text.split())


class _Cluster(NamedTuple):
    """Which worker this process is, and of how many."""

    task: int
    workers: int


def _cluster() -> _Cluster:
    try:
        table = json.loads(os.environ["TF_CONFIG"])
        workers, index = table["cluster"]["worker"], table["task"]["index"]
    except (KeyError, TypeError, ValueError):
        workers, index = [], 0
    if not 0 <= int(index) < len(workers):
        raise UsageError(
            "the strategy multi-worker was asked for, and TF_CONFIG names no cluster of workers",
            accepted='TF_CONFIG=\'{"cluster": {"worker": ["host0:port", "host1:port"]},'
            ' "task": {"type": "worker", "index": 0}}\' in the environment of each worker',
        )
    return _Cluster(int(index), len(workers))
