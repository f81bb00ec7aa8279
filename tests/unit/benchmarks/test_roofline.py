"""The roofline: counts from the graph, peaks that agree with what is published, and its errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="kernels are counted with onnx: needs the test extra")
import onnx

import roofline
from gpumodel.devices import AGX_ORIN, DEVICES, ORIN_NX
from gpumodel.estimate import MEASURED, bounds, check, estimate, fit
from gpumodel.network import Kernel, kernels, resnet50
from peerbench.floatmodel import count_macs, dequantised
from scanside import open_bundle
from small import open_small

if TYPE_CHECKING:
    from gpumodel.devices import Device

DEVICE = st.sampled_from(DEVICES)
KERNEL = st.builds(
    Kernel,
    st.just("conv"), st.just("Conv"),
    st.integers(0, 10**9), st.integers(1, 10**7), st.integers(0, 10**7),
)  # fmt: skip


def total(found: list[Kernel]) -> tuple[int, int]:
    return sum(kernel.macs for kernel in found), sum(kernel.weights for kernel in found)


def test_resnet50_is_the_one_that_everybody_means() -> None:
    found = kernels(resnet50())
    assert sum(kernel.kind == "Conv" for kernel in found) == 53
    macs, weights = total(found)
    # He et al. 2015 and torchvision: 4.1 GMAC, 25.5 million parameters with BatchNormalization.
    assert macs == pytest.approx(4.09e9, rel=0.01)
    assert weights == pytest.approx(25.5e6, rel=0.01)


@pytest.mark.parametrize("role", ["classifier", "segmenter"])
def test_quantisers_do_not_count(role: str) -> None:
    model = onnx.load_from_string(open_bundle().read_model(role, "int8"))
    plain = dequantised(model)
    found = kernels(model)
    assert total(found)[0] == count_macs(plain)
    assert total(found) == total(kernels(plain))
    assert len(found) == len(kernels(plain))
    assert not {kernel.kind for kernel in found} & {"QuantizeLinear", "DequantizeLinear", "Add"}


def test_twice_the_slices_move_twice_as_much_and_the_weights_once() -> None:
    model = onnx.load_from_string(open_small().read_model("segmenter", "fp32"))
    one, two = kernels(model), kernels(model, 2)
    assert [k.macs * 2 for k in one] == [k.macs for k in two]
    assert [k.moved * 2 for k in one] == [k.moved for k in two]
    assert [k.weights for k in one] == [k.weights for k in two]


def test_a_residual_is_read_by_the_convolution_that_adds_it() -> None:
    found = {kernel.name: kernel for kernel in kernels(resnet50())}
    last = [kernel for kernel in found.values() if kernel.kind == "Conv"][-1]
    side, width = 7, 512
    assert last.moved == side * side * (width + 4 * width + 4 * width)


@pytest.mark.parametrize(
    ("device", "sparse_tops"),
    # Published for the GPU alone, with sparsity: twice the dense rate, two operations each.
    [(AGX_ORIN, 170), (ORIN_NX, 60), (DEVICES[3], 67), (DEVICES[-1], 1035)],
)
def test_peaks_are_the_published_ones(device: Device, sparse_tops: float) -> None:
    assert device.peak * 4 / 1e12 == pytest.approx(sparse_tops, rel=0.01)


def test_bandwidths_are_the_published_ones() -> None:
    found = {(device.name, device.mode): device.bandwidth / 1e9 for device in DEVICES}
    assert found["Orin Nano 8 GB", "15W"] == pytest.approx(68, rel=0.01)
    assert found["Orin Nano 8 GB", "MAXN_SUPER"] == pytest.approx(102, rel=0.01)
    assert found["AGX Orin 64 GB", "MAXN"] == pytest.approx(204.8, rel=0.01)


def test_the_estimate_is_within_eleven_percent_of_a_device_it_was_not_fitted_to() -> None:
    errors = {(device.name, batch): (fast, slow) for device, batch, _, fast, slow in check(fit())}
    for batch in (1, 8):
        assert errors["AGX Orin 64 GB", batch] == pytest.approx((0, 0), abs=1e-9)
    assert max(map(abs, errors["Orin NX 16 GB", 1])) < 0.06
    assert max(map(abs, errors["Orin NX 16 GB", 8])) < 0.11


def test_no_measured_time_is_below_the_floor() -> None:
    for device, batch, seconds in MEASURED:
        assert seconds > estimate(kernels(resnet50(), batch), device, fit()).floor


@given(found=st.lists(KERNEL, min_size=1, max_size=5), device=DEVICE)
def test_an_estimate_adds_up(found: list[Kernel], device: Device) -> None:
    held = estimate(found, device, fit())
    assert held.floor < held.fast <= held.slow
    assert held.floor == pytest.approx(sum(cost.bound for cost in bounds(found, device)))
    assert math.isclose(held.compute + held.memory + held.fixed, 1.0)
    half = estimate(found, device, fit(), "fp16")
    assert half.floor == pytest.approx(2 * held.floor)


def test_the_page_has_every_device_and_states_its_errors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["roofline.py", "--layers"])
    roofline.main()
    page = capsys.readouterr().out
    for device in DEVICES:
        assert f"| {device.name} | {device.mode} |" in page
    assert "error of the estimate" in page
    assert page.count("| Conv |") == 53 + 28
