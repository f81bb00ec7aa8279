"""What only a Jetson has: power modes, clocks, sensors, and memory that CPU and GPU share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scanside.bench.sensors import read_sensors
from scanside.doctor.platforms import platform_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

pytestmark = [pytest.mark.jetson, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _jetson() -> None:
    if platform_of(Path("/")).kind != "jetson":
        pytest.skip("this is no Jetson")


def test_doctor_reads_this_device(scanside: Callable[..., Done]) -> None:
    report = json.loads(scanside("doctor", "--format", "json").out)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert found["jetpack"]["state"] == "ok", found["jetpack"]
    assert "TensorRT" in found["jetpack"]["found"]
    assert "unknown" not in found["power mode"]["found"]
    assert found["clocks"]["state"] == "ok"


def test_power_and_temperature_are_read() -> None:
    units = {reading.unit for reading in read_sensors(Path("/")).values()}
    assert {"C", "mW"} <= units, read_sensors(Path("/"))


def test_a_benchmark_is_stamped_with_the_power_mode(
    scanside: Callable[..., Done], tmp_path: Path
) -> None:
    done = scanside("bench", "--duration", "2", "--json", tmp_path / "bench.json")
    assert done.code in {0, 6}, done.err
    stamp = (tmp_path / "bench.json").read_text()
    assert "nvpmodel" in stamp
