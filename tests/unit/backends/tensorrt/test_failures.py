"""Every call that fails: what is said, what is freed, and what is still possible afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines import keep_engines
from fake_engine import FakeEngine, make_plan
from scanside.backends import tensorrt
from scanside.engines import engine_folder
from scanside.errors import BackendError, DeviceLostError, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle

CLOSE = 1e-6
FREEING = {"cuMemFree", "cuMemFreeHost", "cuStreamDestroy", "cuEventDestroy", "cuGraphDestroy",
           "cuGraphExecDestroy", "cuDevicePrimaryCtxRelease", "cuCtxPopCurrent"}  # fmt: skip
"""Where these fail, something is left over; that is the failure."""

ASKING = {"cuDeviceGetCount", "cuDeviceTotalMem", "cuCtxGetDevice"}
"""Asked by PyCUDA for its own ends."""


def analyse(
    machine: Any, bundle: Bundle, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, str]]:
    """The whole way: load, a slice, a batch of another size, close."""
    backend = tensorrt.load(bundle, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    try:
        backend.classify(images[:1])
        backend.segment(images[:1])
        return backend.classify(images[:2]), backend.segment(images[:2]), backend.describe()
    finally:
        backend.close()


@pytest.fixture
def expected(cpu: Backend, images: NDArray[np.uint8]) -> tuple[Any, Any]:
    return cpu.classify(images[:2]), cpu.segment(images[:2])


def each_call(machine: Any, bundle: Bundle, images: NDArray[np.uint8]) -> dict[str, int]:
    """How often each call of the driver is made on the whole way."""
    before = machine.calls
    analyse(machine, bundle, images)
    return {
        name: count
        for name, count in (machine.calls - before).items()
        if name not in FREEING | ASKING
    }


def places(count: int) -> list[int]:
    """Which of so many calls are made to fail."""
    return sorted({1, 2, (count + 1) // 2, count} & set(range(1, count + 1)))


Outcome = tuple[str, Any, Any]


def outcome(machine: Any, bundle: Bundle, images: NDArray[np.uint8]) -> Outcome:
    """What becomes of the whole way: an error by its kind, or results."""
    try:
        probability, mask, said = analyse(machine, bundle, images)
    except DeviceLostError as error:
        return f"lost, {error.exit_code}", None, error.remedy
    except BackendError as error:
        return f"error, {error.exit_code}", None, None
    return said["cuda graphs"].partition(":")[0], probability, mask


@pytest.mark.slow
def test_whichever_call_fails_once_it_is_said_and_nothing_is_left(
    machine: Any, built: Bundle, images: NDArray[np.uint8], expected: tuple[Any, Any]
) -> None:
    calls = each_call(machine, built, images)
    assert {"cuMemAlloc", "cuMemHostAlloc", "cuGraphLaunch", "launch"} <= calls.keys()
    before, outcomes = machine.held, set()
    for name, count in sorted(calls.items()):
        for at in places(count):
            machine.heal()
            machine.fail(name, at=at)
            what, probability, mask = outcome(machine, built, images)
            outcomes.add(what)
            # Only what graphs are made with may fail without an error, and that is said.
            assert what in {"error, 8", "none"}, f"{name} {at}"
            if what == "none":
                np.testing.assert_allclose(probability, expected[0], atol=CLOSE)
                np.testing.assert_allclose(mask, expected[1], atol=CLOSE)
            assert machine.held == before, f"{name} {at}"
    assert outcomes == {"error, 8", "none"}


@pytest.mark.slow
def test_whichever_call_fails_for_good_the_device_is_lost(
    doomed: Any, built: Bundle, images: NDArray[np.uint8]
) -> None:
    calls = each_call(doomed, built, images)
    started = {"cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceComputeCapability",
               "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain"}  # fmt: skip
    for name, count in sorted(calls.items()):
        for at in places(count):
            doomed.heal()
            doomed.fail(name, at=at, text="illegal address", times=0)
            what, _, remedy = outcome(doomed, built, images)
            if name in started:
                assert what == "error, 8", f"{name} {at}"
            elif what != "error, 8" or name != "cuCtxPushCurrent":  # it may be the first one
                assert what == "lost, 8", f"{name} {at}"
                assert "end this process and start another" in remedy
    doomed.heal()
    assert outcome(doomed, built, images)[0] == "one a model and slot"


def test_after_an_error_that_passes_the_backend_computes_on(
    load: Callable[..., Backend], machine: Any, images: NDArray[np.uint8], cpu: Backend
) -> None:
    backend = load()
    for call in ("cuMemcpyHtoDAsync", "cuGraphLaunch", "cuEventRecord", "cuEventSynchronize"):
        machine.fail(call)
        with pytest.raises(BackendError, match="the classifier"):
            backend.classify(images[:1])
        np.testing.assert_allclose(
            backend.classify(images[:1]), cpu.classify(images[:1]), atol=CLOSE
        )
        machine.fail("cuMemcpyHtoDAsync")
        with pytest.raises(BackendError, match="the segmenter"):
            backend.segment(images[1:2])
        np.testing.assert_allclose(
            backend.segment(images[1:2]), cpu.segment(images[1:2]), atol=CLOSE
        )


def test_an_error_that_stays_is_told_apart_and_ends_it(
    doomed: Any, built: Bundle, images: NDArray[np.uint8]
) -> None:
    backend = tensorrt.load(built, "fp32", libraries=doomed.libraries, runtime=doomed.runtime)
    doomed.fail("cuEventSynchronize", text="illegal address", times=0)
    for _ in range(2):
        with pytest.raises(DeviceLostError, match="Fake GPU can't be used any more") as lost:
            backend.classify(images[:1])
        assert "end this process and start another" in lost.value.remedy
        assert lost.value.exit_code == 8
    backend.close()
    doomed.heal()


def test_too_little_memory_says_what_helps(machine: Any, built: Bundle) -> None:
    machine.fail("cuMemAlloc", at=3, times=2, text="out of memory")  # PyCUDA tries again
    with pytest.raises(BackendError, match="out of memory") as error:
        tensorrt.load(built, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    assert "smaller --batch" in error.value.remedy


def test_a_device_that_is_not_there(make_machine: Callable[..., Any], built: Bundle) -> None:
    machine = make_machine(devices=0)
    with pytest.raises(BackendError, match="no CUDA device that can be used"):
        tensorrt.load(built, "fp32", libraries=machine.libraries, runtime=machine.runtime)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("create_execution_context", "gives no execution context"),
        ("set_tensor_address", "refuses an address for image"),
        ("set_input_shape", "refuses 1 images at once"),
        ("infer_shapes", "has no shape"),
        ("execute_async_v3", "failed"),
    ],
)
def test_what_the_library_refuses_is_an_error_with_its_reason(
    method: str, said: str, machine: Any, built: Bundle
) -> None:
    machine.refuse.add(method)
    with pytest.raises(BackendError, match=said) as error:
        tensorrt.load(built, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    assert "the library gives no reason" not in str(error.value)


def test_a_failing_enqueue_while_it_runs(
    load: Callable[..., Backend], machine: Any, images: NDArray[np.uint8], cpu: Backend
) -> None:
    backend = load()
    machine.refuse.add("execute_async_v3")
    # Not what was captured, but another number of images, is given to the library again.
    with pytest.raises(BackendError, match="the classifier's engine failed"):
        backend.classify(images[:2])
    machine.heal()
    np.testing.assert_allclose(backend.classify(images[:2]), cpu.classify(images[:2]), atol=CLOSE)


def test_a_number_of_images_that_is_refused_does_not_stay(
    machine: Any, built: Bundle, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.fail("cuStreamBeginCapture")  # a graph would hide what the context holds
    backend = tensorrt.load(built, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    machine.refuse.add("infer_shapes")
    with pytest.raises(BackendError, match="has no shape"):
        backend.segment(images[:2])
    machine.heal()
    computed, compute = [], FakeEngine.compute

    def noted(engine: FakeEngine, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        computed.append(len(image))
        return compute(engine, image)

    monkeypatch.setattr(FakeEngine, "compute", noted)
    backend.segment(images[:1])
    assert computed == [1]
    backend.close()


def test_without_graphs_everything_is_launched_by_itself_and_that_is_said(
    machine: Any, built: Bundle, images: NDArray[np.uint8], cpu: Backend
) -> None:
    machine.fail("cuStreamBeginCapture")
    backend = tensorrt.load(built, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    assert backend.describe()["cuda graphs"].startswith("none: cuStreamBeginCapture")
    before = machine.calls["launch"]
    for _ in range(3):
        np.testing.assert_allclose(
            backend.classify(images[:1]), cpu.classify(images[:1]), atol=CLOSE
        )
    assert machine.calls["launch"] == before + 3
    backend.close()


@pytest.mark.parametrize(
    "damage", ["stale", "foreign GPU", "other model", "cut", "flipped", "gone"]
)
def test_an_engine_that_is_not_the_right_one_is_refused(
    damage: str, machine: Any, bundle: Bundle, version: str
) -> None:
    others = {"stale": {"version": "9.0.0"}, "foreign GPU": {"gpu": "Orin"}}
    options: dict[str, Any] = {"version": version, "runtime": machine.runtime} | others.get(
        damage, {}
    )
    paths = keep_engines(bundle, engine_folder(), **options)
    plan = paths["segmenter"]
    content = plan.read_bytes()
    if damage == "cut":
        plan.write_bytes(content[:-1])
    elif damage == "flipped":
        plan.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "gone":
        plan.unlink()
    elif damage == "other model":
        plan.write_bytes(paths["classifier"].read_bytes())
    with pytest.raises(EngineError) as refused:
        tensorrt.load(bundle, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    assert refused.value.exit_code == 4
    assert "scanside build" in refused.value.remedy


def test_a_plan_that_the_library_refuses_is_refused_with_its_reason(
    machine: Any, bundle: Bundle, version: str
) -> None:
    keep_engines(
        bundle,
        engine_folder(),
        version,
        plans={"classifier": b"no plan at all"},
        runtime=machine.runtime,
    )
    with pytest.raises(EngineError, match="magicTag") as refused:
        tensorrt.load(bundle, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    assert "--rebuild" in refused.value.remedy


def test_an_engine_of_another_contract_is_refused(
    machine: Any, bundle: Bundle, version: str
) -> None:
    other = make_plan(bundle.read_model("segmenter", "fp32"), version, (1, 1, 4))
    keep_engines(
        bundle, engine_folder(), version, plans={"classifier": other}, runtime=machine.runtime
    )
    with pytest.raises(EngineError, match="has the tensors image .*mask_probability") as refused:
        tensorrt.load(bundle, "fp32", libraries=machine.libraries, runtime=machine.runtime)
    assert "tumor_probability (OUTPUT FLOAT [N, 1])" in refused.value.accepted
