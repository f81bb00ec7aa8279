"""What the driver says of the device, with a driver that can be foreseen."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from scanside_export.engine.device import first_device
from scanside_export.engine.exchange import Device
from scanside_export.engine.library import ChildError

ATTRIBUTES = {75: 8, 76: 7, 18: 1}


class Driver:
    """A CUDA driver with one Orin; `broken` is a function that fails, `count` its devices."""

    def __init__(self, broken: str = "", count: int = 1) -> None:
        self._broken = broken
        self._count = count

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any) -> int:
            if name == self._broken:
                return 999
            return int(getattr(self, f"_{name}")(*words) or 0)

        return call

    def _cuInit(self, flags: int) -> None:  # noqa: N802 - CUDA's own names
        assert flags == 0

    def _cuDeviceGetCount(self, out: Any) -> None:  # noqa: N802
        out._obj.value = self._count

    def _cuDeviceGet(self, out: Any, ordinal: int) -> None:  # noqa: N802
        out._obj.value = ordinal

    def _cuDeviceGetName(self, out: Any, length: int, device: int) -> None:  # noqa: N802
        assert (length, device) == (256, 0)
        out.value = b"Orin"

    def _cuDeviceTotalMem_v2(self, out: Any, device: int) -> None:  # noqa: N802
        out._obj.value = (8 << 30) + device

    def _cuDeviceGetAttribute(self, out: Any, attribute: int, device: int) -> None:  # noqa: N802
        out._obj.value = ATTRIBUTES[attribute] + device


def test_the_device_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver())
    assert first_device() == Device(name="Orin", capability="8.7", memory=8 << 30, integrated=True)


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (Driver(broken="cuInit"), "cuInit failed with CUDA error 999"),
        (Driver(broken="cuDeviceGetName"), "cuDeviceGetName failed"),
        (Driver(count=0), "knows of no GPU"),
    ],
)
def test_what_fails_is_named(driver: Driver, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver)
    with pytest.raises(ChildError, match=said) as refused:
        first_device()
    assert "scanside doctor" in refused.value.failed.remedy


def test_without_a_driver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(ChildError, match="no NVIDIA driver here"):
        first_device()
