"""Each backend on the real device: what it computes, and that it leaves nothing behind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scanside import Pipeline, backends
from scanside.errors import BackendError
from scanside.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command import Done
    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.golden import GoldenSlices

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

_CALLS = 200
_LEAK = 8 << 20
"""Bytes of device memory that libraries may take late, for instance for a kernel's workspace."""


@pytest.fixture
def loaded(backend: str, shipped: Bundle) -> Iterator[Backend]:
    held = backends.load(backend, shipped).backend
    yield held
    held.close()


def free_memory() -> int:
    driver = pytest.importorskip("pycuda.driver", reason="PyCUDA tells how much memory is free")
    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    try:
        return int(driver.mem_get_info()[0])
    finally:
        context.pop()


def test_golden_parity(backend: str, shipped: Bundle) -> None:
    """Outputs, decisions, masks and batches are those that the bundle recorded."""
    with Pipeline.open(shipped, backend=backend) as pipeline:
        failed = [check for check in verify(shipped, pipeline) if not check.passed]
    assert failed == []


def test_the_same_slice_gives_the_same_bits(loaded: Backend, golden: GoldenSlices) -> None:
    image = golden.images[:1]
    first = loaded.segment(image)
    for other in golden.images[1:3]:
        loaded.segment(other[None])
    np.testing.assert_array_equal(loaded.segment(image), first)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_batches_are_their_slices(loaded: Backend, golden: GoldenSlices, count: int) -> None:
    images = np.resize(golden.images, (count, *golden.images.shape[1:]))
    together = loaded.classify(images), loaded.segment(images)
    singly = [(loaded.classify(image[None]), loaded.segment(image[None])) for image in images]
    for number, (probability, plane) in enumerate(singly):
        np.testing.assert_allclose(together[0][number], probability[0], atol=0.02)
        assert np.mean(np.abs(together[1][number] - plane[0]) > 0.02) < 0.01


def test_any_thread_may_call(loaded: Backend, golden: GoldenSlices) -> None:
    images = [image[None] for image in golden.images] * 4
    wanted = [loaded.classify(image) for image in images]
    with ThreadPoolExecutor(max(2, loaded.lanes)) as threads:
        found = list(threads.map(loaded.classify, images))
    np.testing.assert_allclose(np.stack(found), np.stack(wanted), atol=1e-3)


def test_nothing_is_allocated_after_warm_up(loaded: Backend, golden: GoldenSlices) -> None:
    image = golden.images[:1]
    for _ in range(10):
        loaded.classify(image)
        loaded.segment(image)
    before = free_memory()
    for _ in range(_CALLS):
        loaded.classify(image)
        loaded.segment(image)
    assert before - free_memory() < _LEAK


def test_closing_frees_the_device_and_ends_it(
    backend: str, shipped: Bundle, golden: GoldenSlices
) -> None:
    def once() -> Backend:
        held = backends.load(backend, shipped).backend
        held.classify(golden.images[:1])
        held.close()
        return held

    once()  # the library's own memory stays
    before = free_memory()
    for _ in range(3):
        closed = once()
    assert before - free_memory() < _LEAK
    with pytest.raises(BackendError, match="closed"):
        closed.classify(golden.images[:1])


def test_auto_takes_the_best_that_can_be_used(backend: str, shipped: Bundle) -> None:
    found = backends.load("auto", shipped)
    order = list(backends.ON_GPU)
    assert order.index(found.backend.name) <= order.index(backend)
    for better in order[: order.index(found.backend.name)]:
        assert better in (found.fallback or "")
    found.backend.close()


def test_the_commands_of_the_acceptance_test(
    backend: str, scanside: Callable[..., Done], tmp_path: Any
) -> None:
    verified = scanside("verify", "--backend", backend, "--json")
    assert verified.code == 0, verified.err
    assert json.loads(verified.out)["passed"] is True
    measured = scanside(
        "bench", "--backend", backend, "--duration", "2", "--json", tmp_path / "bench.json"
    )
    # A busy or throttled device is INVALID (6); what was measured is written all the same.
    assert measured.code in {0, 6}, measured.err
    assert json.loads((tmp_path / "bench.json").read_bytes())["backend"] == backend


def test_doctor_agrees(backend: str, scanside: Callable[..., Done]) -> None:
    report = json.loads(scanside("doctor", "--format", "json").out)
    assert backend in report["usable"]
    assert report["exit_code"] == 0
    if find_spec("onnxruntime") is not None:
        assert "cpu" in report["usable"]
