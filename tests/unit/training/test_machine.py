from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="needs the extra train")

import keras

from scanside.errors import UsageError
from scanside_training import machine
from scanside_training.config import MachineConfig

pytestmark = pytest.mark.tf


def pretend(monkeypatch: pytest.MonkeyPatch, *, able: bool) -> None:
    monkeypatch.setattr(machine, "_has_bfloat16", lambda: able)


@pytest.mark.parametrize(
    ("asked", "able", "expected"),
    [
        ("auto", True, "bfloat16"),
        ("auto", False, "float32"),
        ("float32", True, "float32"),
        ("bfloat16", True, "bfloat16"),
    ],
)
def test_precision_follows_the_hardware(
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    able: bool,  # noqa: FBT001 - a parameter of the test
    expected: str,
) -> None:
    pretend(monkeypatch, able=able)
    assert machine.resolve_precision(asked) == expected


def test_bfloat16_without_hardware_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, able=False)
    with pytest.raises(UsageError, match="avx512_bf16"):
        machine.resolve_precision("bfloat16")


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu avx2 avx512_bf16 fma", True), ("fpu avx2 fma", False)]
)
def test_the_processor_says_what_it_can(
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    expected: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setattr(machine.tf.config, "list_physical_devices", lambda _: [])
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"model name : x\nflags : {flags}\n")
    assert (machine.resolve_precision("auto") == "bfloat16") is expected


def test_the_policy_holds_while_building_only() -> None:
    before = keras.config.dtype_policy().name
    with machine.build_policy("bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize(
    "value",
    [None, "{", "[]", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}'],
)
def test_multi_worker_without_a_cluster_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(UsageError, match="TF_CONFIG"):
        machine.shard_of(MachineConfig(strategy="multi-worker"))


def test_a_worker_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(table))
    assert machine.shard_of(MachineConfig(strategy="multi-worker")) == (1, 2)
    assert machine.shard_of(MachineConfig()) == (0, 1)


def test_another_keras_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(UsageError, match="KERAS_BACKEND"):
        machine.prepare(MachineConfig(), seed=1)
