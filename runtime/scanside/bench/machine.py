"""What a result says of the machine that was measured."""

from __future__ import annotations

from scanside.fields import Count, Part

__all__ = ["Disturbance", "Environment", "Memory", "SensorRange"]


class Memory(Part, frozen=True, kw_only=True):
    """Peak memory in bytes.

    Attributes
    ----------
    self_bytes
        Peak resident set of this process (VmHWM).
    children_bytes
        The same of its children, summed: LoadGen's process, a builder, ...
    tree_bytes
        Both: an upper bound, since peaks need not coincide and shared pages count twice.
    """

    self_bytes: Count
    children_bytes: Count
    tree_bytes: Count


class Environment(Part, frozen=True, kw_only=True):
    """The machine and what is installed on it; an empty mapping where there is nothing to say."""

    machine: str
    cpu: str
    architecture: str
    cores: Count
    usable_cores: Count
    governors: dict[str, str]
    clock_limits: dict[str, str]
    memory_bytes: Count
    system: str
    kernel: str
    virtualised: bool
    versions: dict[str, str]
    backend: dict[str, str]
    jetson: dict[str, str]


class SensorRange(Part, frozen=True, kw_only=True):
    """A sensor during the measurement."""

    unit: str
    low: float
    mean: float
    high: float


class Disturbance(Part, frozen=True, kw_only=True):
    """What happened on the machine during the measurement.

    Attributes
    ----------
    steal_share
        Share of the processor time that the hypervisor gave to others; none where unknown.
    others_share
        Share of this process's cores that other processes used; none where it cannot be told.
    cgroup_throttled
        Times that the cgroup's quota stopped this process.
    thermal_events
        Events by counter, for instance ``cpu0 core_throttle_count``.
    cooling
        Cooling devices that reduced clocks, with their highest state.
    sensors
        Temperatures, powers and clocks by name.
    """

    steal_share: float | None
    others_share: float | None
    cgroup_throttled: Count
    thermal_events: dict[str, int]
    cooling: dict[str, int]
    sensors: dict[str, SensorRange]
