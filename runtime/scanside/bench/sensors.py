"""Sensors of a machine: temperatures, clocks, and the power of a Jetson's rails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.bench.environment import ROOT, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Reading", "cooling_states", "read_sensors"]

_SUM_CHANNEL: Final = 7
"""Channel of the INA3221's shunt sum: no rail."""

_REDUCES_NOTHING: Final = ("fan", "tach")
"""In the type of a cooling device that makes wind instead of reducing clocks."""


class Reading(NamedTuple):
    """One value of a sensor."""

    value: float
    unit: str


def read_sensors(root: Path = ROOT) -> dict[str, Reading]:
    """Read all sensors there are: temperatures in degrees Celsius, MHz, mW, load in percent."""
    return {
        name: Reading(round(value, 3), unit)
        for name, value, unit in (*_temperatures(root), *_clocks(root), *_power(root))
    }


def cooling_states(root: Path = ROOT) -> dict[str, int]:
    """Return the state of every device that cools by reducing clocks; above 0 it does."""
    found = {}
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind, state = read_text(device / "type"), read_text(device / "cur_state")
        if state.isdigit() and not any(word in kind.lower() for word in _REDUCES_NOTHING):
            found[f"{device.name} {kind}"] = int(state)
    return found


def _temperatures(root: Path) -> Iterator[tuple[str, float, str]]:
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        if (value := _number(zone / "temp")) is not None:
            yield f"{read_text(zone / 'type') or zone.name} temperature", value / 1e3, "C"


def _clocks(root: Path) -> Iterator[tuple[str, float, str]]:
    for policy in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*")):
        if (value := _number(policy / "scaling_cur_freq")) is not None:
            yield f"{policy.name} clock", value / 1e3, "MHz"
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        if (value := _number(device / "cur_freq")) is not None:
            yield f"{device.name} clock", value / 1e6, "MHz"
        if (value := _number(device / "device/load")) is not None:
            yield f"{device.name} load", value / 10, "%"


def _power(root: Path) -> Iterator[tuple[str, float, str]]:
    """Yield the rails of a Jetson's INA3221 monitors: volts times amperes.

    References
    ----------
    NVIDIA Jetson Linux Developer Guide, "Power Monitoring": INA3221, hwmon.
    """
    for name in sorted((root / "sys/bus/i2c/devices").glob("*/name")):
        if read_text(name) != "ina3221":
            continue
        for label in sorted((name.parent / "hwmon").glob("hwmon*/in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            rail = read_text(label)
            if rail == "NC" or channel == str(_SUM_CHANNEL):
                continue
            millivolts = _number(label.with_name(f"in{channel}_input"))
            milliamperes = _number(label.with_name(f"curr{channel}_input"))
            if millivolts is not None and milliamperes is not None:
                yield f"{rail} power", millivolts * milliamperes / 1e3, "mW"


def _number(file: Path) -> float | None:
    try:
        return float(read_text(file))
    except ValueError:
        return None
