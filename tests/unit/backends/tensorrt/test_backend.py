"""Results, counts and overlap of the ``tensorrt`` backend, on whichever machine there is."""

from __future__ import annotations

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from scanside import Pipeline
from scanside.backends.base import ProfilesLayers
from scanside.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle

CLOSE = 1e-6
"""Both compute with ONNX Runtime, with other numbers of threads."""


def test_results_are_those_of_the_cpu(
    load: Callable[..., Backend], cpu: Backend, images: NDArray[np.uint8]
) -> None:
    backend = load()
    for image in images:
        one = image[np.newaxis]
        np.testing.assert_allclose(backend.classify(one), cpu.classify(one), atol=CLOSE)
        np.testing.assert_allclose(backend.segment(one), cpu.segment(one), atol=CLOSE)


def test_a_batch_may_be_larger_than_the_engines_take(
    load: Callable[..., Backend], cpu: Backend, images: NDArray[np.uint8]
) -> None:
    backend = load()
    assert backend.describe()["largest batch"] == "4"
    for count in (6, 4, 3, 1, 6):
        some = np.ascontiguousarray(images[:count])
        np.testing.assert_allclose(backend.segment(some), cpu.segment(some), atol=CLOSE)
        np.testing.assert_allclose(backend.classify(some), cpu.classify(some), atol=CLOSE)


def test_an_array_that_was_changed_in_place_is_sent_again(
    load: Callable[..., Backend], cpu: Backend, images: NDArray[np.uint8]
) -> None:
    backend = load()
    one = images[:1].copy()
    backend.classify(one)
    one[...] = images[1:2]
    np.testing.assert_allclose(backend.segment(one), cpu.segment(one), atol=CLOSE)


def test_results_are_the_callers_own(
    load: Callable[..., Backend], images: NDArray[np.uint8]
) -> None:
    backend = load()
    first = backend.segment(images[:1])
    kept = first.copy()
    backend.segment(images[1:2])
    np.testing.assert_array_equal(first, kept)


def counted(machine: Any, work: Callable[[], object]) -> Counter[str]:
    """Calls and bytes that something takes."""
    before = machine.calls + machine.bytes
    work()
    found: Counter[str] = machine.calls + machine.bytes
    found.subtract(before)
    return Counter({name: count for name, count in found.items() if count})


PAGE = Path(__file__).resolve().parents[4] / "docs" / "tensorrt.md"


def documented() -> dict[str, Counter[str]]:
    """The table of counts in the documentation."""
    rows = re.findall(
        r"^\| `?(?:bytes )?([\w ]+?)`? \| (\d+) \| (\d+) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    return {
        kind: Counter({row[0]: int(row[at]) for row in rows if int(row[at])})
        for at, kind in ((1, "negative"), (2, "positive"))
    }


def test_one_wait_for_a_negative_slice_two_for_a_positive_one_and_nothing_allocated(
    load: Callable[..., Backend], machine: Any, built: Bundle, images: NDArray[np.uint8]
) -> None:
    pipeline = Pipeline(load(), built.manifest.thresholds)
    expected = documented()
    assert expected["negative"]["cuEventSynchronize"] == 1
    assert expected["positive"]["cuEventSynchronize"] == 2
    for image, kind in ((images[1], "negative"), (images[0], "positive"), (images[3], "negative")):
        found = counted(machine, lambda image=image: pipeline.analyse(image))
        assert found == expected[kind]


def test_on_an_integrated_device_nothing_has_to_be_copied(
    make_machine: Callable[..., Any], load: Callable[..., Backend], images: NDArray[np.uint8],
    cpu: Backend, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    machine = make_machine(integrated=True)
    # What is measured is not what is tested: let copying be the slower way.
    monkeypatch.setattr("scanside.backends.tensorrt.backend.median", len)
    backend = load(libraries=machine.libraries)
    assert backend.describe()["transfer"].startswith("copied (measured: copied 20.00 ms, mapped")
    backend.close()
    turns = iter((2.0, 1.0))
    monkeypatch.setattr("scanside.backends.tensorrt.backend.median", lambda _: next(turns))
    backend = load(libraries=machine.libraries)
    assert backend.describe()["transfer"] == "mapped (measured: copied 2.00 ms, mapped 1.00 ms)"
    found = counted(machine, lambda: backend.classify(images[:1]))
    assert {"cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"} & found.keys() == set()
    np.testing.assert_allclose(backend.segment(images), cpu.segment(images), atol=CLOSE)


def test_while_one_slice_is_segmented_the_next_one_is_classified(
    load: Callable[..., Backend], images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load(lanes=2)
    classified = threading.Event()
    segmenting = threading.Event()
    compute = FakeEngine.compute

    def slowly(engine: FakeEngine, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if engine.tensors[1].name == "mask_probability":
            segmenting.set()
            assert classified.wait(20), "the classifier waited for the segmenter"
        return compute(engine, image)

    monkeypatch.setattr(FakeEngine, "compute", slowly)
    with ThreadPoolExecutor(1) as other:
        mask = other.submit(backend.segment, images[:1])
        assert segmenting.wait(20)
        backend.classify(images[1:2])
        classified.set()
        assert mask.result(20).shape == (1, 256, 256)


@pytest.mark.parametrize("lanes", [2, 4])
def test_many_threads_get_their_own_results(
    lanes: int, load: Callable[..., Backend], machine: Any, cpu: Backend, images: NDArray[np.uint8]
) -> None:
    backend = load(lanes=lanes)
    assert backend.lanes == lanes
    expected = [(cpu.classify(one[None]), cpu.segment(one[None])) for one in images]

    def analyse(n: int) -> None:
        which = n % len(images)
        one = images[which : which + 1]
        np.testing.assert_allclose(backend.classify(one), expected[which][0], atol=CLOSE)
        np.testing.assert_allclose(backend.segment(one), expected[which][1], atol=CLOSE)

    with ThreadPoolExecutor(lanes + 2) as pool:
        list(pool.map(analyse, range(40)))
    for call in ("cuMemAlloc", "cuMemHostAlloc", "launch", "cuGraphLaunch", "cuEventRecord",
                 "cuMemcpyHtoDAsync"):  # fmt: skip
        assert machine.threads(call) == 1, call
    assert machine.threads("cuEventSynchronize") > 1


def test_no_more_lanes_than_pay(load: Callable[..., Backend]) -> None:
    assert load(lanes=12).lanes == 4


def test_layers_are_timed(load: Callable[..., Backend], images: NDArray[np.uint8]) -> None:
    backend = load()
    assert isinstance(backend, ProfilesLayers)
    found = backend.profile_layers(images[:1], 3)
    assert found == {role: {"conv1": [0.5] * 3} for role in ("classifier", "segmenter")}
    assert backend.classify(images[:1]).shape == (1, 1)


def test_what_computes_is_described(
    load: Callable[..., Backend], machine: Any, version: str, images: NDArray[np.uint8]
) -> None:
    said = load(lanes=2).describe()
    assert said[machine.runtime] == version
    assert said["device"] == "Fake GPU (8.7)"
    assert said["cuda graphs"] == "one a model and slot"
    assert said["transfer"] == "copied (the device has memory of its own)"
    assert images.shape[0] == 6


def test_a_closed_backend_says_so(load: Callable[..., Backend], images: NDArray[np.uint8]) -> None:
    backend = load()
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="was closed"):
        backend.classify(images[:1])
