"""What else happened on the machine while it was measured.

Counters are read before and after; sensors once a second in between, which costs some file
reads. Every function takes the root of the file system, so that it can be told of other machines.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.backends.cores import has_quota
from scanside.bench.environment import ROOT, read_text
from scanside.bench.schema import Disturbance, SensorRange
from scanside.bench.sensors import Reading, cooling_states, read_sensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["Counters", "Monitor", "difference", "read_counters"]

_SECONDS: Final = 1.0
"""Between readings: temperature and power change over seconds."""

_STEAL: Final = 7
"""Column of the stolen time in a line of ``/proc/stat`` (proc(5)): user, nice, system, idle,
iowait, irq, softirq, steal, guest, guest_nice. Guest time is part of user time."""

_IDLE: Final = (3, 4)
_COLUMNS: Final = 8


class Counters(NamedTuple):
    """Counters of the system at one time.

    Attributes
    ----------
    total, idle, stolen
        Ticks of the cores that this process may use.
    own
        Ticks of this process and its children that have ended.
    throttled
        Periods in which the cgroup's quota stopped its processes.
    thermal
        Thermal and over-current events by counter.
    """

    total: int
    idle: int
    stolen: int
    own: int
    throttled: int
    thermal: dict[str, int]


def read_counters(root: Path = ROOT, *, cores: frozenset[int] | None = None) -> Counters:
    """Read the counters.

    Parameters
    ----------
    root
        Root of the file system.
    cores
        The cores that count; none for those of this process.
    """
    counted = os.sched_getaffinity(0) if cores is None else cores
    names = {f"cpu{core}" for core in counted}
    total = idle = stolen = 0
    for line in read_text(root / "proc/stat").splitlines():
        name, *columns = line.split()
        if name in names:
            ticks = [int(column) for column in columns[:_COLUMNS]]
            total += sum(ticks)
            idle += sum(ticks[n] for n in _IDLE)
            stolen += ticks[_STEAL]
    return Counters(
        total, idle, stolen, _own_ticks(root), _throttled(root), dict(_thermal_events(root))
    )


def difference(
    before: Counters,
    after: Counters,
    *,
    exclusive: bool,
    cooling: dict[str, int],
    sensors: dict[str, SensorRange],
) -> Disturbance:
    """Say what happened between two readings.

    Parameters
    ----------
    before, after
        The readings.
    exclusive
        Whether this process may use all of the cores that were counted. Under a quota it may
        not, and then others on these cores take nothing from it.
    cooling, sensors
        What was read in between.
    """
    total = after.total - before.total
    stolen = after.stolen - before.stolen
    busy = total - (after.idle - before.idle) - stolen
    others = busy - (after.own - before.own)
    return Disturbance(
        steal_share=max(0.0, stolen / total) if total > 0 else None,
        others_share=min(1.0, max(0.0, others / total)) if total > 0 and exclusive else None,
        cgroup_throttled=max(0, after.throttled - before.throttled),
        thermal_events={
            name: events
            for name, count in after.thermal.items()
            if (events := count - before.thermal.get(name, 0)) > 0
        },
        cooling=cooling,
        sensors=sensors,
    )


class Monitor:
    """Watches the machine while the body of a ``with`` statement runs.

    Parameters
    ----------
    root
        Root of the file system.
    also
        Called with every reading.

    Attributes
    ----------
    found
        What happened; set at the end.
    """

    found: Disturbance

    def __init__(self, root: Path = ROOT, *, also: Callable[[], None] = lambda: None) -> None:
        self._root = root
        self._also = also
        self._over = threading.Event()
        self._readings: list[dict[str, Reading]] = []
        self._cooling: dict[str, int] = {}
        self._thread = threading.Thread(target=self._watch, name="scanside-monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._read()
        self._before = read_counters(self._root)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        after = read_counters(self._root)
        self._over.set()
        self._thread.join()
        self._read()
        self.found = difference(
            self._before,
            after,
            exclusive=not has_quota(self._root),
            cooling={name: state for name, state in self._cooling.items() if state > 0},
            sensors=ranges(self._readings),
        )

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS):
            self._read()

    def _read(self) -> None:
        self._also()
        self._readings.append(read_sensors(self._root))
        for name, state in cooling_states(self._root).items():
            self._cooling[name] = max(state, self._cooling.get(name, 0))


def ranges(readings: Sequence[dict[str, Reading]]) -> dict[str, SensorRange]:
    """Return low, mean and high of every sensor."""
    found = {}
    for name in sorted({name for reading in readings for name in reading}):
        values = [reading[name].value for reading in readings if name in reading]
        unit = next(reading[name].unit for reading in readings if name in reading)
        found[name] = SensorRange(
            unit=unit,
            low=min(values),
            mean=round(sum(values) / len(values), 3),
            high=max(values),
        )
    return found


def _own_ticks(root: Path) -> int:
    """Return utime, stime, cutime and cstime of this process (proc(5), fields 14 to 17)."""
    _, _, fields = read_text(root / "proc/self/stat").rpartition(")")
    return sum(int(field) for field in fields.split()[11:15])


def _throttled(root: Path) -> int:
    """Return nr_throttled of the process's cgroup, version 2 or 1."""
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in {"", "cpu", "cpu,cpuacct"}:
            base = root / "sys/fs/cgroup" / controllers
            for folder in (base / path.lstrip("/"), base):
                for each in read_text(folder / "cpu.stat").splitlines():
                    name, _, value = each.partition(" ")
                    if name == "nr_throttled":
                        return int(value)
    return 0


def _thermal_events(root: Path) -> Iterator[tuple[str, int]]:
    """Yield counters of thermal throttling (x86) and of over-current events (Jetson).

    References
    ----------
    Linux, Documentation/ABI/testing/sysfs-devices-system-cpu: thermal_throttle.
    NVIDIA Jetson Linux Developer Guide, "Jetson Orin Series: OC event counters".
    """
    patterns = (
        "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count",
        "sys/class/hwmon/hwmon*/oc*_event_cnt",
    )
    for pattern in patterns:
        for file in sorted(root.glob(pattern)):
            if (count := read_text(file)).isdigit():
                owner = file.parent.parent if "thermal_throttle" in file.parts else file.parent
                yield f"{owner.name} {file.name}", int(count)
