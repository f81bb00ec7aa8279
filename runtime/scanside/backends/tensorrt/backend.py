"""Both models of a bundle as engines on one device."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.backends.tensorrt.buffers import TRANSFERS, make_buffer
from scanside.backends.tensorrt.engine import IMAGE, Loader
from scanside.backends.tensorrt.graph import Graphs
from scanside.backends.tensorrt.run import Run
from scanside.backends.tensorrt.slots import Slot, Slots
from scanside.contract import ROLES
from scanside.enginematch import IMPLICIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scanside.backends.tensorrt.buffers import Transfer
    from scanside.backends.tensorrt.device import Device
    from scanside.backends.tensorrt.engine import Model
    from scanside.backends.tensorrt.library import Libraries
    from scanside.contract import Precision, Role
    from scanside.engines import Sidecar

__all__ = ["LANES", "TensorRTBackend"]

LANES: Final = 4
"""At most: a slice in each model, and as many whose masks are outlined and pictures written."""

_WARM_UPS: Final = 3
"""Of each model and buffer: once by itself, once while the graph is made, once as the graph."""

_TURNS: Final = 20
"""Of each way to transfer, when they are compared: some 100 ms in all."""


class TensorRTBackend:
    """Both models on the device, with a slot of buffers for each caller.

    Each model has a stream of its own, through which its computations pass one after the other:
    while one slice is segmented, the next one is copied and classified, and no execution context
    is ever used twice at once. A call copies its images into its slot, lets the owner thread
    launch, and waits for one event.

    Parameters
    ----------
    libraries
        TensorRT, PyCUDA and the driver.
    device
        The device; closed with the backend.
    engines
        Plan and sidecar of both models.
    name, precision
        Of the backend.
    lanes
        Number of callers at once.

    Raises
    ------
    EngineError
        If the library refuses an engine.
    BackendError
        If the device fails, or has too little memory.
    """

    micro_batch: Final = 1
    """A batch has kernels of its own, whose sums may be rounded otherwise."""

    def __init__(
        self,
        libraries: Libraries,
        device: Device,
        engines: Mapping[Role, tuple[bytes, Sidecar]],
        *,
        name: str,
        precision: Precision,
        lanes: int,
    ) -> None:
        self.name: Final = name
        self.precision: Final = precision
        self.lanes: Final = min(lanes, LANES)
        self._trt = libraries.trt
        self._cuda = libraries.cuda
        self._device = device
        self._graphs = Graphs(libraries.driver)
        self._engines = {role: _named(sidecar) for role, (_, sidecar) in engines.items()}
        self._models = device.run("loading the engines", partial(self._load, engines))
        self._transfer, self._why = self._choose_transfer()
        self._slots = Slots([self._slot(self._transfer) for _ in range(self.lanes)])

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the classifier: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 1]``."""
        return self._compute("classifier", images)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the segmenter: uint8 ``[N, 256, 256, 3]`` to float32 ``[N, 256, 256]``."""
        return self._compute("segmenter", images)

    def profile_layers(
        self, images: NDArray[np.uint8], runs: int
    ) -> dict[Role, dict[str, list[float]]]:
        """Time every layer of both models.

        Parameters
        ----------
        images
            uint8 ``[N, 256, 256, 3]``, not more than the engines take at once.
        runs
            How often; one more comes before, to settle.

        Returns
        -------
        dict
            By model and layer, in the order of their computation: milliseconds of each run.
        """
        found: dict[Role, dict[str, list[float]]] = {}
        with self._slots.one() as slot:
            slot.take_over(images)
            for role, run in slot.runs.items():
                timed = self._device.run(
                    f"timing the {role}", partial(run.profiled, len(images), runs + 1)
                )
                found[role] = {layer: times[1:] for layer, times in timed.items()}
        return found

    def describe(self) -> dict[str, str]:
        """Return library versions, device, engines, and how buffers and launches are done."""
        why_not = self._graphs.why_not
        return {
            self._trt.__name__.removesuffix("_bindings"): str(self._trt.__version__),
            "device": f"{self._device.name} ({self._device.capability})",
            "lanes": str(self.lanes),
            "transfer": f"{self._transfer} ({self._why})",
            "cuda graphs": "one a model and slot" if why_not is None else f"none: {why_not}",
            "engines": ", ".join(f"{role} {digest}" for role, digest in self._engines.items()),
            "largest batch": str(min(model.largest for model in self._models.values())),
        }

    def close(self) -> None:
        """Free everything on the device, then give its context back."""
        self._slots.take_all()
        self._device.close()

    def _load(self, engines: Mapping[Role, tuple[bytes, Sidecar]]) -> dict[Role, Model]:
        loader = Loader(self._trt, self._device)
        return {role: loader.load(role, *engines[role]) for role in ROLES}

    def _compute(self, role: Role, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        largest = self._models[role].largest
        with self._slots.one() as slot:
            parts = [
                self._compute_in(slot, role, images[start : start + largest])
                for start in range(0, len(images), largest)
            ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _compute_in(self, slot: Slot, role: Role, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        run, count = slot.runs[role], len(images)
        what = f"the {role}"
        upload = slot.take_over(images)
        self._device.run(what, partial(run.start, count, upload=upload))
        self._device.wait(what, run.wait)
        slot.held = max(slot.held, count)
        result: NDArray[np.float32] = run.output.host[:count].copy()
        return result

    def _choose_transfer(self) -> tuple[Transfer, str]:
        """Measure which way is the faster, where there is a choice."""
        if not self._device.integrated:
            return "copied", "the device has memory of its own"
        took: dict[Transfer, list[float]] = {transfer: [] for transfer in TRANSFERS}
        slots = {transfer: self._slot(transfer) for transfer in TRANSFERS}
        images = np.zeros((2, 1, *IMAGE), np.uint8)
        images[1] = 1  # another image in each turn, so that it is sent each time
        for turn in range(_TURNS):
            for transfer, slot in slots.items():
                started = time.perf_counter()
                for role in ROLES:
                    self._compute_in(slot, role, images[turn % 2])
                took[transfer].append((time.perf_counter() - started) * 1e3)
        for slot in slots.values():
            self._device.run("freeing buffers", slot.owner.close)
        ms = {transfer: median(times) for transfer, times in took.items()}
        best = min(TRANSFERS, key=lambda transfer: ms[transfer])
        compared = ", ".join(f"{transfer} {ms[transfer]:.2f} ms" for transfer in TRANSFERS)
        return best, f"measured: {compared}"

    def _slot(self, transfer: Transfer) -> Slot:
        """Make a slot and compute in it until nothing more has to be made."""
        slot = self._device.run("allocating buffers", partial(self._allocated, transfer))
        images = np.zeros((1, *IMAGE), np.uint8)
        for role in ROLES:
            for _ in range(_WARM_UPS):
                self._compute_in(slot, role, images)
        return slot

    def _allocated(self, transfer: Transfer) -> Slot:
        with ExitStack() as owner:
            largest = max(model.largest for model in self._models.values())
            image = make_buffer(
                self._cuda, self._device, (largest, *IMAGE), np.uint8, transfer, owner
            )
            runs: dict[Role, Run] = {}
            for role, model in self._models.items():
                shape = (model.largest, *model.shape)
                output = make_buffer(self._cuda, self._device, shape, np.float32, transfer, owner)
                done = self._device.event(sleeping=self.lanes > 1)
                runs[role] = Run(model, image, output, done, self._graphs)
                owner.callback(runs[role].free)
            slot = Slot(image, runs, owner.pop_all())
            self._device.own(slot.owner)
            return slot


def _named(sidecar: Sidecar) -> str:
    """Return the name of an engine, and that TensorRT chose its ranges where it did."""
    name = sidecar.key.digest[:12]
    return f"{name} (INT8 ranges chosen by TensorRT)" if IMPLICIT in sidecar.key.settings else name
