"""How many cores this process may compute on: physical ones, within affinity and quotas.

References
----------
Topology: https://docs.kernel.org/admin-guide/cputopology.html. Quotas:
https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``) and
https://docs.kernel.org/scheduler/sched-bwc.html (``cpu.cfs_quota_us``, version 1).
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["has_quota", "usable_cores"]

_ROOT: Final = Path("/")
_CPUS: Final = "sys/devices/system/cpu"
_SIBLINGS: Final = ("thread_siblings_list", "core_cpus_list")
_VERSION_1_MOUNTS: Final = ("cpu,cpuacct", "cpu")
_MEMBERSHIP_PARTS: Final = 3


def usable_cores(root: Path = _ROOT, cpus: Collection[int] | None = None) -> int:
    """Return the number of threads that each find a core of their own.

    Two hyper-threads of a core count once: they share its multipliers. A quota counts in whole
    cores, at least one.

    Parameters
    ----------
    root
        Where ``/proc`` and ``/sys`` are.
    cpus
        The logical processors that this process may run on; none for its affinity.
    """
    allowed = os.sched_getaffinity(0) if cpus is None else cpus
    cores = {_core(root, cpu) for cpu in allowed}
    return max(1, min([len(cores), *(int(quota) for quota in _quotas(root))]))


def has_quota(root: Path = _ROOT) -> bool:
    """Tell whether a control group allows less than the processors of this process's affinity."""
    return any(quota < len(os.sched_getaffinity(0)) for quota in _quotas(root))


def _core(root: Path, cpu: int) -> str:
    """Return what is the same for all hyper-threads of a core and for them alone."""
    for name in _SIBLINGS:
        listed = _read(root / _CPUS / f"cpu{cpu}" / "topology" / name)
        if listed:
            return listed
    return f"only {cpu}"


def _quotas(root: Path) -> Iterator[float]:
    """Yield the number of processors that every control group around this process allows."""
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        parts = line.split(":", 2)
        if len(parts) != _MEMBERSHIP_PARTS:
            continue
        _, controllers, path = parts
        if not controllers:
            for folder in _around(base, path):
                yield from _ratio(_read(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for mount in _VERSION_1_MOUNTS:
                for folder in _around(base / mount, path):
                    numbers = (_read(folder / f"cpu.cfs_{of}_us") for of in ("quota", "period"))
                    yield from _ratio(list(numbers))


def _around(base: Path, path: str) -> Iterator[Path]:
    """Yield a control group's folder and all above it.

    In a container the path may be that of the host, and the folder at the top the container's.
    """
    inner = PurePosixPath(path.lstrip("/"))
    if ".." in inner.parts:
        inner = PurePosixPath()
    yield base / inner
    for parent in inner.parents:
        yield base / parent


def _ratio(words: list[str]) -> Iterator[float]:
    """Yield quota by period; nothing where there is no limit (``max``, -1) or no such file."""
    try:
        quota, period = (int(word) for word in words)
    except ValueError:
        return
    if quota > 0 and period > 0:
        yield quota / period


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
