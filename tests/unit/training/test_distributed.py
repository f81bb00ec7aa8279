"""Training on several replicas: two devices of one machine, and two worker processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("tensorflow", reason="needs the extra train")

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.tf, pytest.mark.slow]

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

SAME_STEP = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
from scanside_training.config import OptimizerConfig, Phase, SegmenterConfig, SegmenterModelConfig
from scanside_training.learner import Learner

config = SegmenterConfig(
    phases=(Phase(epochs=1),),
    model=SegmenterModelConfig(filters=(8, 8)),
    optimizer=OptimizerConfig(learning_rate=0.01, warmup_epochs=0),
)
random = np.random.default_rng(1)
images = random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
masks = (random.random((2, 32, 32, 1)) < 0.3).astype(np.uint8)
found = []
for strategy, copies in (
    (tf.distribute.get_strategy(), 1),
    (tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 2),
):
    keras.utils.set_random_seed(1)
    learner = Learner(config, steps=10, warmup=0, precision="float32", strategy=strategy)
    # Both replicas see the same slices: their batch statistics and gradients are equal.
    for _ in range(3):
        loss = learner.step(
            np.concatenate([images] * copies), {"mask": np.concatenate([masks] * copies)}
        )
    found.append((loss, learner.averages()))
(one, weights), (other, mirrored) = found
assert abs(one - other) < 1e-5, (one, other)
for path, value in weights.items():
    assert np.allclose(value, mirrored[path], atol=1e-4), path
print("equal")
"""

CONFIG = """
task = "segmenter"
[model]
filters = [8, 8]
[[phases]]
side = 64
epochs = 1
batch = 4
[[phases]]
side = 256
epochs = 1
batch = 4
[sampling]
slices_per_epoch = 12
[machine]
threads = 1
"""


def test_two_replicas_take_the_step_of_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAME_STEP],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("equal")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [int(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return ports


def test_two_workers_train_one_model(tiny: Any, tmp_path: Path) -> None:
    config, output = tmp_path / "segmenter.toml", tmp_path / "out"
    config.write_text(CONFIG, encoding="utf-8")
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = []
    for index in (0, 1):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        words = [
            *(sys.executable, "-W", "ignore"),
            *("-c", "from scanside.cli.main import main; main()", "train", "segmenter"),
            *("--config", str(config), "--data", str(tiny.data), "--split", str(tiny.split)),
            *("--output", str(output), "--strategy", "multi-worker"),
        ]
        workers.append(
            subprocess.Popen(
                words,
                env={**ENVIRONMENT, "TF_CONFIG": json.dumps(cluster)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        ended = [worker.communicate(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (_, err) in zip(workers, ended, strict=True):
        assert worker.returncode == 0, err
    # Each worker validates the weights that it has: they say the same.
    summaries = {out.split("validation")[-1].strip() for out, _ in ended}
    assert len(summaries) == 1
    assert (output / "segmenter.keras").exists()
    facts = json.loads((output / "training.json").read_text(encoding="utf-8"))
    assert facts["epochs"] == 2
    assert facts["config"]["machine"]["strategy"] == "multi-worker"
