"""Which of the CPU backends is the faster here: measured once, then kept.

Which one it is depends on the model, the processor and both libraries' versions, so it is not
known before. Nothing is measured, and no library is asked for, where only one is installed.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from scanside.backends.derivation import REWRITES_VERSION
from scanside.backends.onnxruntime import usable_cores
from scanside.backends.processor import processor
from scanside.cachefolder import cache_folder, entry_key, read_entry, write_entry
from scanside.errors import BackendError
from scanside.golden import read_golden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.contract import Precision

__all__ = ["PACKAGES", "Choice", "choose", "faster", "installed", "measure"]

PACKAGES: Final = {"cpu": "onnxruntime", "openvino": "openvino"}
"""The CPU backends that are chosen among, with the package that each needs. In a tie the first
is taken: it starts sooner."""

_SOONEST: Final = "starts soonest, and one slice is all"
"""0.4 s in place of 0.6 s to the first result, where a slice takes some 10 ms on either."""

_DISTRIBUTIONS: Final = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Under which names a package is distributed, where that is not its own."""

_MARGIN: Final = 0.95
"""Of the first one's time: a smaller gain is within what one measurement is off."""

_SLICES: Final = 4
_SECONDS: Final = 1.0
"""How long is measured: some 30 slices of full-size INT8 models on two cores."""

_LEAST_TURNS: Final = 3
"""Of every backend, however slow they are: the median of fewer is no median."""


class Choice(NamedTuple):
    """What was chosen.

    Attributes
    ----------
    backend
        The backend, ready.
    reason
        Why it was taken, with the figures; none where there was nothing to choose.
    passed_over
        What could not be used, by name, and why.
    """

    backend: Backend
    reason: str | None
    passed_over: dict[str, str]


def installed(names: Sequence[str]) -> list[str]:
    """Return those of the CPU backends whose package is installed; imports none of them."""
    return [name for name in names if find_spec(PACKAGES[name]) is not None]


def choose(
    bundle: Bundle,
    precision: Precision,
    names: Sequence[str],
    load: Callable[[str], Backend],
    *,
    streaming: bool = False,
    once: bool = False,
) -> Choice:
    """Load the fastest of several backends.

    Parameters
    ----------
    bundle
        The opened bundle.
    precision
        The precision that is to run.
    names
        Names of `PACKAGES` that are installed, at least one.
    load
        Loads the backend of a name.
    streaming
        Whether they are loaded for the most slices a second: that is measured by itself.
    once
        Whether a single slice is all: then the first one that can be used is taken, unmeasured.

    Raises
    ------
    BackendError
        If none of them can be used.
    """
    if len(names) == 1:
        return Choice(load(names[0]), None, {})
    passed_over: dict[str, str] = {}
    if once:
        return _first(names, load, passed_over, lambda name: f"{name} {_SOONEST}")
    folder, key = cache_folder("choices"), _key(bundle, precision, names, streaming=streaming)
    kept = _decoded(read_entry(folder, key), names)
    if kept is not None:
        order = sorted(names, key=lambda name: (name != faster(kept), kept[name]))
        return _first(
            order, load, passed_over, lambda name: _reason(name, kept, "measured earlier")
        )
    ready = {
        name: backend for name in names if (backend := _tried(name, load, passed_over)) is not None
    }
    images = read_golden(bundle).images[:_SLICES]
    took = measure(ready, images, passed_over, streaming=streaming)
    if not took:
        raise _nothing(passed_over)
    best = faster(took)
    for name in ready.keys() - {best}:
        ready[name].close()
    if not passed_over:
        write_entry(folder, key, msgspec.json.encode(took), {"bundle": bundle.label, "unit": "ms"})
    return Choice(ready[best], _reason(best, took, "measured now"), passed_over)


def faster(took: Mapping[str, float]) -> str:
    """Return the name with the least time; the first one unless another is clearly faster.

    Parameters
    ----------
    took
        Milliseconds by name, at least one.
    """
    first = next(iter(took))
    best = min(took, key=lambda name: took[name])
    return best if took[best] < _MARGIN * took[first] else first


def measure(
    backends: Mapping[str, Backend],
    images: NDArray[np.uint8],
    passed_over: dict[str, str],
    clock: Callable[[], float] = time.perf_counter,
    *,
    streaming: bool = False,
) -> dict[str, float]:
    """Measure what a slice takes that goes through both models.

    The backends take turns, so that what else this machine does meets them alike, and medians
    are compared. About a second is measured.

    Parameters
    ----------
    backends
        What is compared, by name.
    images
        uint8 ``[N, 256, 256, 3]``, at least one.
    passed_over
        Gets the reason of a backend that fails; it is not measured further.
    clock
        Seconds.
    streaming
        Whether a lane classifies as many at once as it does in a run.

    Returns
    -------
    dict
        Median milliseconds by name, of those that did not fail, in their order.
    """
    times: dict[str, list[float]] = {name: [] for name in backends}
    with ExitStack() as stack:
        # The same threads in every turn, as in a run: a library may keep things by thread.
        lanes = {
            name: stack.enter_context(ThreadPoolExecutor(backend.lanes))
            for name, backend in backends.items()
        }
        together = {
            name: backend.micro_batch if streaming else 1 for name, backend in backends.items()
        }
        _take_turns(backends, lanes, together, images, times, passed_over, clock)
    # The first turn is left out: it fills caches and allocates.
    return {name: float(np.median(found[1:] or [0.0])) for name, found in times.items()}


def _take_turns(
    backends: Mapping[str, Backend],
    lanes: Mapping[str, Executor],
    together: Mapping[str, int],
    images: NDArray[np.uint8],
    times: dict[str, list[float]],
    passed_over: dict[str, str],
    clock: Callable[[], float],
) -> None:
    """Add each backend's milliseconds a slice, turn by turn; drop one that fails."""
    end, turn = clock() + _SECONDS, 0
    while len(times) > 1 and (turn <= _LEAST_TURNS or clock() < end):
        for name in list(times):
            group = images[np.arange(turn, turn + together[name]) % len(images)]
            started = clock()
            try:
                _in_all_lanes(backends[name], lanes[name], group)
            except BackendError as error:
                passed_over[name] = str(error)
                del times[name]
            else:
                slices = together[name] * backends[name].lanes
                times[name].append((clock() - started) * 1e3 / slices)
        turn += 1


def _in_all_lanes(backend: Backend, lanes: Executor, group: NDArray[np.uint8]) -> None:
    """Send slices through both models in every lane at once, as a run does."""

    def analyse(_: int) -> None:
        backend.classify(group)
        for image in group:
            backend.segment(image[np.newaxis])

    list(lanes.map(analyse, range(backend.lanes)))


def _first(
    names: Sequence[str],
    load: Callable[[str], Backend],
    passed_over: dict[str, str],
    reason: Callable[[str], str | None],
) -> Choice:
    """Load the first one that can be used."""
    for name in names:
        if (backend := _tried(name, load, passed_over)) is not None:
            return Choice(backend, reason(name), passed_over)
    raise _nothing(passed_over)


def _tried(
    name: str, load: Callable[[str], Backend], passed_over: dict[str, str]
) -> Backend | None:
    try:
        return load(name)
    except BackendError as error:
        passed_over[name] = str(error)
        return None


def _key(bundle: Bundle, precision: Precision, names: Sequence[str], *, streaming: bool) -> str:
    """Return the key of a measurement: everything that may make another backend the faster."""
    return entry_key(
        manifest=bundle.manifest_sha256,
        precision=precision,
        streaming=str(streaming),
        rewrites=REWRITES_VERSION,
        processor=processor(),
        cores=str(usable_cores()),
        **{name: _version(PACKAGES[name]) for name in names},
    )


def _version(package: str) -> str:
    """Return a package's version, without importing it where its metadata is there."""
    # Imported here: it costs a tenth of a cold start, and is not needed with one backend.
    from importlib.metadata import PackageNotFoundError, version

    for name in _DISTRIBUTIONS.get(package, (package,)):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:  # noqa: PERF203 - two names
            continue
    try:
        return f"{package} {import_module(package).__version__}"
    except (ImportError, AttributeError):
        return f"{package} of no known version"


def _decoded(content: bytes | None, names: Sequence[str]) -> dict[str, float] | None:
    """Return a kept measurement, in the order of the names; none unless it is of just these."""
    if content is None:
        return None
    try:
        took = msgspec.json.decode(content, type=dict[str, float])
    except msgspec.DecodeError:
        return None
    return {name: took[name] for name in names} if set(took) == set(names) else None


def _reason(name: str, took: Mapping[str, float], when: str) -> str | None:
    """Say why a backend was taken; none where there was nothing to compare it with."""
    if len(took) < 2 or name != faster(took):  # noqa: PLR2004 - a comparison takes two
        return None
    others = ", ".join(f"{other} {ms:.1f} ms" for other, ms in took.items() if other != name)
    tie = "" if took[name] <= min(took.values()) else " (about as fast, and starts sooner)"
    return f"{name} takes {took[name]:.1f} ms a slice, {others}: {when}{tie}"


def _nothing(passed_over: Mapping[str, str]) -> BackendError:
    listed = "; ".join(f"{name}: {why}" for name, why in passed_over.items())
    return BackendError(f"no backend can be used here: {listed}")
