"""What the bundle's models will cost on a Jetson: a roofline, checked against MLPerf's results.

Nothing is run on a GPU. Multiply-accumulates and bytes come from the ONNX files, peaks from what
NVIDIA publishes, and how near kernels come to them from MLPerf Inference v3.1. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from gpumodel.devices import DEVICES
from gpumodel.estimate import bounds, check, estimate, fit
from gpumodel.network import kernels
from scanside import open_bundle
from scanside.contract import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpumodel.estimate import Fit
    from gpumodel.network import Kernel
    from scanside.contract import Role


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="another bundle than the default one")
    parser.add_argument("--precision", choices=("int8", "fp16"), default="int8")
    parser.add_argument("--layers", action="store_true", help="every kernel, on the first device")
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    models = {
        role: kernels(onnx.load_from_string(bundle.read_model(role, arguments.precision)))
        for role in ROLES
    }
    fitted = fit()
    print(f"## {bundle.label}, {arguments.precision}, one slice at a time\n")
    print("\n".join([*model_lines(models), "", *check_lines(fitted), ""]))
    print("\n".join(device_lines(models, fitted, arguments.precision)))
    if arguments.layers:
        print()
        print("\n".join(layer_lines(models, arguments.precision)))


def model_lines(models: Mapping[Role, list[Kernel]]) -> Iterator[str]:
    """Yield what each model computes and moves."""
    yield "| model | kernels | GMAC | activations, millions | weights, millions |"
    yield "|---|---|---|---|---|"
    for role, found in models.items():
        macs = sum(kernel.macs for kernel in found) / 1e9
        moved = sum(kernel.moved for kernel in found) / 1e6
        weights = sum(kernel.weights for kernel in found) / 1e6
        yield f"| {role} | {len(found)} | {macs:.2f} | {moved:.1f} | {weights:.1f} |"


def check_lines(fitted: Fit) -> Iterator[str]:
    """Yield the fit, and what it gives for MLPerf's ResNet-50."""
    yield (
        f"Kernels reach {fitted.efficiency:.0%} of their bound and take"
        f" {fitted.fixed * 1e6:.1f} us besides: fitted to AGX Orin, so its errors are 0."
    )
    yield ""
    yield "| MLPerf v3.1, ResNet-50 INT8 | slices at once | measured, ms | error of the estimate |"
    yield "|---|---|---|---|"
    for device, batch, seconds, fast, slow in check(fitted):
        yield (
            f"| {device.name}, {device.mode} | {batch} | {seconds * 1e3:.3f} |"
            f" {fast:+.1%} to {slow:+.1%} |"
        )


def device_lines(models: Mapping[Role, list[Kernel]], fitted: Fit, precision: str) -> Iterator[str]:
    """Yield latency and energy of a negative and a positive slice on every device."""
    yield (
        "| device | mode | negative slice, ms | positive slice, ms | floor of it, ms |"
        " mJ, at most | what takes most |"
    )
    yield "|---|---|---|---|---|---|---|"
    both = [*models["classifier"], *models["segmenter"]]
    for device in DEVICES:
        negative = estimate(models["classifier"], device, fitted, precision)
        positive = estimate(both, device, fitted, precision)
        share = max(positive.compute, positive.memory, positive.fixed)
        yield (
            f"| {device.name} | {device.mode} | {_span(negative.fast, negative.slow)} |"
            f" {_span(positive.fast, positive.slow)} | {positive.floor * 1e3:.2f} |"
            f" {negative.slow * device.watts * 1e3:.0f} and"
            f" {positive.slow * device.watts * 1e3:.0f} |"
            f" {positive.bottleneck} ({share:.0%}) |"
        )


def layer_lines(models: Mapping[Role, list[Kernel]], precision: str) -> Iterator[str]:
    """Yield every kernel with its bounds on the first device."""
    device = DEVICES[0]
    yield f"| kernel ({device.name}, {device.mode}) | kind | MMAC | kB | bound, us | by |"
    yield "|---|---|---|---|---|---|"
    for found in models.values():
        for kernel, cost in zip(found, bounds(found, device, precision), strict=True):
            by = "arithmetic" if cost.compute >= cost.memory else "memory"
            yield (
                f"| {kernel.name} | {kernel.kind} | {kernel.macs / 1e6:.1f} |"
                f" {(kernel.moved + kernel.weights) / 1e3:.0f} | {cost.bound * 1e6:.1f} | {by} |"
            )


def _span(fast: float, slow: float) -> str:
    first, last = f"{fast * 1e3:.2f}", f"{slow * 1e3:.2f}"
    return first if first == last else f"{first} to {last}"


if __name__ == "__main__":
    main()
