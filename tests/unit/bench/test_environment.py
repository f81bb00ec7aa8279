"""The environment stamp of machines that are folders of text files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scanside.bench.environment import cpu_name, parse_nvpmodel, stamp
from scanside.bench.sensors import cooling_states, read_sensors

if TYPE_CHECKING:
    from pathlib import Path


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


ORIN = {
    "proc/cpuinfo": "".join(
        f"processor\t: {n}\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n\n" for n in range(6)
    ),
    "proc/meminfo": "MemTotal:        7802000 kB\nMemFree: 1 kB\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "729600\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1510400\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1344000\n",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/device/load": "425\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48562\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "3\n",
    "sys/class/thermal/cooling_device1/type": "devfreq-17000000.gpu\n",
    "sys/class/thermal/cooling_device1/cur_state": "2\n",
    "sys/bus/i2c/devices/1-0040/name": "ina3221\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in1_label": "VDD_IN\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in1_input": "5000\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr1_input": "1200\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in2_label": "NC\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in2_input": "5000\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr2_input": "1\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in7_label": "sum of shunt voltages\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in7_input": "9\n",
    "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr7_input": "9\n",
    "sys/bus/i2c/devices/1-0041/name": "eeprom\n",
}
"""What an Orin Nano shows, as far as it is read."""


def test_a_jetson_is_stamped_with_its_power_mode_and_clocks(tmp_path: Path) -> None:
    asked = []

    def run(words: tuple[str, ...]) -> str:
        asked.append(words)
        return "NV Power Mode: 15W\n0\n"

    held = stamp({"device": "Orin"}, root=tree(tmp_path, ORIN), run=run)
    assert asked == [("nvpmodel", "-q")]
    assert held.machine == "NVIDIA Jetson Orin Nano Developer Kit"
    assert held.cpu == "6 x 0x41/0xd42"
    assert held.cores == 6
    assert held.jetson["nvpmodel"] == "15W (0)"
    assert held.jetson["l4t"].startswith("R36 (release), REVISION: 4.3")
    assert held.governors == {"policy0": "schedutil", "17000000.gpu": "nvhost_podgov"}
    assert held.clock_limits == {
        "policy0": "729.6 to 1510.4 MHz",
        "17000000.gpu": "306 to 624.75 MHz",
    }
    assert held.memory_bytes == 7802000 * 1024
    assert (held.system, held.kernel) == ("Ubuntu 22.04.5 LTS", "5.15.148-tegra")
    assert not held.virtualised


def test_a_jetson_whose_mode_cannot_be_asked_says_so(tmp_path: Path) -> None:
    held = stamp({}, root=tree(tmp_path, ORIN), run=lambda _: "")
    assert "failed" in held.jetson["nvpmodel"]


def test_an_empty_machine_is_stamped_without_an_error(tmp_path: Path) -> None:
    held = stamp({}, root=tmp_path, run=lambda _: "")
    assert (held.cpu, held.machine, held.jetson, held.governors) == ("unknown", "unknown", {}, {})
    assert held.usable_cores == len(os.sched_getaffinity(0))


def test_this_machine_has_what_the_stamp_says() -> None:
    held = stamp({})
    assert held.cores == os.cpu_count()
    assert held.memory_bytes > 2**28
    assert held.kernel == os.uname().release


def test_the_name_of_an_x86_processor() -> None:
    info = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t: fpu hypervisor\n"
    assert cpu_name(info) == "AMD EPYC 7B13"


def test_power_mode_is_read_with_and_without_warnings() -> None:
    noisy = "NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_30W_ALL\n2\n"
    assert parse_nvpmodel(noisy) == "MODE_30W_ALL (2)"
    assert parse_nvpmodel("NV Power Mode: MAXN") == "MAXN"
    assert parse_nvpmodel("error") == ""


def test_sensors_of_a_jetson(tmp_path: Path) -> None:
    held = read_sensors(tree(tmp_path, ORIN))
    assert {name: (r.value, r.unit) for name, r in held.items()} == {
        "cpu-thermal temperature": (48.562, "C"),
        "policy0 clock": (1344.0, "MHz"),
        "17000000.gpu clock": (306.0, "MHz"),
        "17000000.gpu load": (42.5, "%"),
        "VDD_IN power": (6000.0, "mW"),
    }


def test_a_fan_does_not_throttle(tmp_path: Path) -> None:
    assert cooling_states(tree(tmp_path, ORIN)) == {"cooling_device1 devfreq-17000000.gpu": 2}
