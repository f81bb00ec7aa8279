"""Times from a roofline: what bounds a kernel, how near it comes, and what it costs besides.

A bound alone is far off for one slice at a time: most kernels of a ResNet are over before the
GPU is full. Two numbers describe that, a share of the bound and a fixed time for each kernel;
both come from MLPerf's results of one device and are checked on another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gpumodel.devices import AGX_ORIN, ORIN_NX
from gpumodel.network import Kernel, kernels, resnet50

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpumodel.devices import Device

__all__ = ["MEASURED", "Costs", "Estimate", "Fit", "bounds", "check", "estimate", "fit"]

MEASURED: Final = (
    (AGX_ORIN, 1, 0.636375e-3),
    (AGX_ORIN, 8, 2.164327e-3),
    (ORIN_NX, 1, 1.078675e-3),
    (ORIN_NX, 8, 5.080062e-3),
)
"""Device, slices at once and mean seconds of MLPerf's ResNet-50 in INT8.

References
----------
https://github.com/mlcommons/inference_results_v3.1, ``closed/NVIDIA/results/Orin_TRT`` and
``Orin_NX_TRT``, ``resnet50``, ``SingleStream`` and ``MultiStream`` (8 samples a query),
``performance/run_1/mlperf_log_summary.txt``, "Mean latency"; TensorRT 8.5.2. The Offline results
(6,424 and 2,641 images a second) are of the GPU and both DLAs together (``hw_notes`` of the
systems' descriptions), so they say nothing of the GPU.
"""

_BYTES: Final = {"int8": 1, "fp16": 2}
_RATE: Final = {"int8": 1.0, "fp16": 0.5}
"""Bytes of an element, and the share of INT8's peak."""


class Costs(NamedTuple):
    """Bounds of a kernel, in seconds.

    Attributes
    ----------
    compute, memory
        With the arithmetic's and the memory's peak alone.
    """

    compute: float
    memory: float

    @property
    def bound(self) -> float:
        """The larger one: no kernel is faster."""
        return max(self)


class Fit(NamedTuple):
    """How kernels stand to their bounds.

    Attributes
    ----------
    efficiency
        Share of the bound that they reach.
    fixed
        Seconds that a kernel takes besides, on the device that the fit is of.
    clock
        That device's, in MHz.
    """

    efficiency: float
    fixed: float
    clock: float


class Estimate(NamedTuple):
    """A model on a device.

    Attributes
    ----------
    floor
        Seconds at the bounds: no implementation is faster.
    fast, slow
        Seconds with the fixed time as it was measured, and grown as the clock is lower.
    compute, memory, fixed
        Shares of `slow` that kernels bound by arithmetic, by memory, and the fixed time take.
    """

    floor: float
    fast: float
    slow: float
    compute: float
    memory: float
    fixed: float

    @property
    def bottleneck(self) -> str:
        """What takes most of the time."""
        shares = {
            "fixed cost of kernels": self.fixed,
            "arithmetic": self.compute,
            "memory": self.memory,
        }
        return max(shares, key=shares.__getitem__)


def bounds(found: Sequence[Kernel], device: Device, precision: str = "int8") -> list[Costs]:
    """Return the bounds of kernels on a device."""
    size, rate = _BYTES[precision], _RATE[precision]
    return [
        Costs(
            kernel.macs / (device.peak * rate),
            (kernel.moved + kernel.weights) * size / device.bandwidth,
        )
        for kernel in found
    ]


def fit() -> Fit:
    """Return efficiency and fixed time: the two numbers that give AGX Orin's two results."""
    network = resnet50()
    (one, many) = (
        (sum(each.bound for each in bounds(kernels(network, batch), device)), seconds)
        for device, batch, seconds in MEASURED
        if device is AGX_ORIN
    )
    count = len(kernels(network))
    inverse = (many[1] - one[1]) / (many[0] - one[0])
    return Fit(1 / inverse, (one[1] - one[0] * inverse) / count, AGX_ORIN.clock)


def estimate(
    found: Sequence[Kernel], device: Device, fitted: Fit, precision: str = "int8"
) -> Estimate:
    """Estimate what a model costs.

    Parameters
    ----------
    found
        Its kernels.
    device
        Where.
    fitted
        From `fit`.
    precision
        ``int8`` or ``fp16``.
    """
    costs = bounds(found, device, precision)
    floor = sum(each.bound for each in costs)
    working = floor / fitted.efficiency
    fixed = len(costs) * fitted.fixed
    slower = fixed * max(1.0, fitted.clock / device.clock)
    total = working + slower
    by_compute = sum(each.bound for each in costs if each.compute >= each.memory)
    return Estimate(
        floor=floor,
        fast=working + fixed,
        slow=total,
        compute=by_compute / fitted.efficiency / total,
        memory=(floor - by_compute) / fitted.efficiency / total,
        fixed=slower / total,
    )


def check(fitted: Fit) -> list[tuple[Device, int, float, float, float]]:
    """Return device, slices at once, the measured seconds, and the errors of both estimates."""
    network = resnet50()
    found = []
    for device, batch, seconds in MEASURED:
        held = estimate(kernels(network, batch), device, fitted)
        found.append((device, batch, seconds, held.fast / seconds - 1, held.slow / seconds - 1))
    return found
