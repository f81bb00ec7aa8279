"""Counters before and after, of machines that are folders of text files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scanside.bench.disturbance import Monitor, difference, ranges, read_counters
from scanside.bench.memory import Peaks, descendants, peak_bytes
from scanside.bench.sensors import Reading

if TYPE_CHECKING:
    from pathlib import Path

STAT = """cpu  9 9 9 9 9 9 9 9 0 0
cpu0 {user} 0 10 {idle} 5 0 0 {steal} 7 0
cpu1 900 0 0 0 0 0 0 0 0 0
"""


def machine(root: Path, **held: int) -> Path:
    values = {"user": 100, "idle": 200, "steal": 3, "own": 40, "throttled": 2, "events": 5} | held
    own = f"77 (a) b) S 1 1 1 0 -1 0 0 0 0 0 {values['own'] - 6} 3 2 1 20 0 1 0 99"
    files = {
        "proc/stat": STAT.format(**values),
        "proc/self/stat": own,
        "proc/self/cgroup": "0::/app\n",
        "sys/fs/cgroup/app/cpu.stat": f"usage_usec 9\nnr_throttled {values['throttled']}\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": str(values["events"]),
        "sys/class/hwmon/hwmon2/oc1_event_cnt": "1",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_counters_are_of_the_cores_that_may_be_used(tmp_path: Path) -> None:
    found = read_counters(machine(tmp_path), cores=frozenset({0}))
    assert (found.total, found.idle, found.stolen) == (318, 205, 3)
    assert (found.own, found.throttled) == (40, 2)
    assert found.thermal == {"cpu0 core_throttle_count": 5, "hwmon2 oc1_event_cnt": 1}


def test_the_difference_is_what_happened_in_between(tmp_path: Path) -> None:
    before = read_counters(machine(tmp_path / "a"), cores=frozenset({0}))
    after = read_counters(
        machine(tmp_path / "b", user=170, idle=220, steal=13, own=90, throttled=4, events=8),
        cores=frozenset({0}),
    )
    found = difference(before, after, exclusive=True, cooling={}, sensors={})
    assert found.steal_share == pytest.approx(10 / 100)
    assert found.others_share == pytest.approx((70 - 50) / 100)
    assert found.cgroup_throttled == 2
    assert found.thermal_events == {"cpu0 core_throttle_count": 3}
    shared = difference(before, after, exclusive=False, cooling={}, sensors={})
    assert shared.others_share is None


def test_no_time_is_no_share(tmp_path: Path) -> None:
    counters = read_counters(machine(tmp_path), cores=frozenset({0}))
    found = difference(counters, counters, exclusive=True, cooling={}, sensors={})
    assert (found.steal_share, found.others_share) == (None, None)


def test_quota_of_control_groups_version_1(tmp_path: Path) -> None:
    root = machine(tmp_path)
    (root / "proc/self/cgroup").write_text("5:cpu,cpuacct:/\n0::/\n")
    (root / "sys/fs/cgroup/cpu,cpuacct").mkdir()
    (root / "sys/fs/cgroup/cpu,cpuacct/cpu.stat").write_text("nr_periods 9\nnr_throttled 6\n")
    assert read_counters(root).throttled == 6


def test_ranges_take_sensors_that_come_and_go() -> None:
    readings = [{"a": Reading(1.0, "C")}, {"a": Reading(4.0, "C"), "b": Reading(2.0, "mW")}]
    found = ranges(readings)
    assert (found["a"].low, found["a"].mean, found["a"].high, found["a"].unit) == (1, 2.5, 4, "C")
    assert found["b"].mean == 2


def test_the_monitor_sees_what_a_cooling_device_did(tmp_path: Path) -> None:
    root = machine(tmp_path)
    device = root / "sys/class/thermal/cooling_device0"
    device.mkdir(parents=True)
    (device / "type").write_text("cpufreq-cpu0\n")
    (device / "cur_state").write_text("0\n")
    looked = []
    with Monitor(root, also=lambda: looked.append(1)) as monitor:
        (device / "cur_state").write_text("4\n")
        machine(root, throttled=3)
    assert monitor.found.cooling == {"cooling_device0 cpufreq-cpu0": 4}
    assert monitor.found.cgroup_throttled == 1
    assert len(looked) >= 2


def processes(root: Path, parents: dict[int, int]) -> Path:
    for process, parent in parents.items():
        folder = root / "proc" / str(process)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stat").write_text(f"{process} (a (b) c) S {parent} 0 0")
        (folder / "status").write_text(f"Name:\ta\nVmHWM:\t    {process} kB\nVmRSS:\t 1 kB\n")
    return root


def test_peaks_of_the_tree_outlive_its_children(tmp_path: Path) -> None:
    root = processes(tmp_path, {10: 1, 11: 10, 12: 11, 20: 1})
    assert descendants(10, root) == [11, 12]
    peaks = Peaks(root, 10)
    peaks.look()
    (root / "proc/12/stat").unlink()
    (root / "proc/12/status").unlink()
    found = peaks.memory()
    assert found.self_bytes == 10 * 1024
    assert found.children_bytes == 23 * 1024
    assert found.tree_bytes == 33 * 1024


def test_this_process_has_a_peak() -> None:
    held = Peaks().memory()
    assert held.self_bytes > 2**23
    assert peak_bytes(2**30) == 0
