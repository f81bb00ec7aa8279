"""Looking at everything once, and what follows from it for the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside.backends import BACKENDS
from scanside.doctor.findings import Report
from scanside.doctor.gpu import gpu_findings
from scanside.doctor.host import Host
from scanside.doctor.machine import machine_findings
from scanside.doctor.own import (
    bundle_finding,
    cache_finding,
    engines_finding,
    opencv_finding,
    python_finding,
)
from scanside.doctor.platforms import platform_of
from scanside.doctor.runtimes import runtime_findings, telemetry_finding
from scanside.doctor.tries import cpu_tries, gpu_tries
from scanside.errors import BackendError, BundleError, worst_exit_code

if TYPE_CHECKING:
    from collections.abc import Collection

    from scanside.doctor.probe import Probe

__all__ = ["examine", "exit_code"]


def examine(host: Host | None = None, *, backends: Collection[str] = tuple(BACKENDS)) -> Report:
    """Look at this machine.

    Parameters
    ----------
    host
        The machine; none for this one.
    backends
        Names of the backends that there are.
    """
    host = host or Host()
    platform = platform_of(host.root)
    cached, folder = cache_finding()
    bundled, damage = bundle_finding()
    libraries = list(runtime_findings(host, platform, backends))
    gpu = list(gpu_findings(host, platform, backends))
    imported = {finding.name: probe for finding, probe in libraries if probe is not None}
    on_gpu = dict(gpu_tries(host, gpu, imported, backends, whole=damage is None))
    on_cpu = dict(cpu_tries(host, imported, whole=damage is None))
    tries = {name: tried.probe for name, tried in (on_gpu | on_cpu).items()}
    findings = (
        python_finding(host),
        *machine_findings(host, platform, folder),
        *(finding for finding, _ in libraries),
        *gpu,
        opencv_finding(host),
        telemetry_finding(host),
        cached,
        engines_finding(folder),
        bundled,
        *(tried.finding for tried in (on_gpu | on_cpu).values() if tried.finding is not None),
    )
    return Report(
        machine=platform.name,
        usable=tuple(name for name, probe in tries.items() if not probe.error),
        exit_code=exit_code(tries, damaged=damage is not None),
        findings=findings,
    )


def exit_code(tries: dict[str, Probe], *, damaged: bool) -> int:
    """Return the exit code that follows.

    Parameters
    ----------
    tries
        What became of each backend whose library is installed, by name.
    damaged
        Whether the default bundle is refused.

    Returns
    -------
    int
        8 if ``--backend auto`` finds no backend, or ends with a library that crashes: it loads
        every one that is installed. 4 if the bundle is damaged, 0 if neither holds.
    """
    runs = any(not probe.error for probe in tries.values())
    crashes = any(probe.crashed for probe in tries.values())
    return worst_exit_code(
        BundleError.exit_code if damaged else 0,
        0 if runs and not crashes else BackendError.exit_code,
    )
