"""Giving every backend of ``--backend auto`` a slice to compute, each in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.backends.choice import PACKAGES
from scanside.doctor.findings import Finding
from scanside.doctor.probe import BACKEND
from scanside.doctor.runtimes import REINSTALL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from scanside.doctor.host import Host
    from scanside.doctor.probe import Probe

__all__ = ["Tried", "cpu_tries", "gpu_tries"]

_NEEDS: Final = {"tensorrt": ("tensorrt", "pycuda"), "cuda": ("provider cuda",)}
"""Findings that have to be ok before a backend is tried."""

_NO_ENGINE: Final = "EngineError"


class Tried(NamedTuple):
    """A backend that was tried.

    Attributes
    ----------
    finding
        What to say of it; none where its library has had its finding.
    probe
        How it went.
    """

    finding: Finding | None
    probe: Probe


def cpu_tries(
    host: Host, imported: Mapping[str, Probe], *, whole: bool
) -> Iterator[tuple[str, Tried]]:
    """Yield the backends on the CPU whose library is installed.

    Parameters
    ----------
    host
        The machine.
    imported
        What became of importing each library, by its name.
    whole
        Whether the default bundle is whole: else nothing is computed, and that the library can
        be imported is all that is known.
    """
    for name, package in PACKAGES.items():
        probe = imported.get(package)
        if probe is None:
            continue
        if probe.error or not whole:
            yield name, Tried(None, probe)
            continue
        probe = host.probe(BACKEND + name)
        remedy = REINSTALL if package == "onnxruntime" else f"pip uninstall -y {package}"
        yield name, Tried(_finding(name, probe, remedy), probe)


def gpu_tries(
    host: Host,
    findings: Collection[Finding],
    imported: Mapping[str, Probe],
    backends: Collection[str],
    *,
    whole: bool,
) -> Iterator[tuple[str, Tried]]:
    """Yield the backends on a GPU whose libraries work, in the order of ``auto``.

    Parameters
    ----------
    host
        The machine.
    findings
        Of GPU, driver, TensorRT and PyCUDA.
    imported
        What became of each library and provider, by the finding's name.
    backends
        Names of the backends that there are, in the order of ``auto``.
    whole
        Whether the default bundle is whole.
    """
    fine = {finding.name for finding in findings if finding.state == "ok"}
    fine |= {name for name, probe in imported.items() if not probe.error}
    for name in backends:
        provider = imported.get(f"provider {name}")
        if name == "ort-trt" and provider is not None:
            # It would build engines of the bundle, which takes minutes: its provider has computed.
            yield name, Tried(None, provider)
        elif name in _NEEDS and fine.issuperset(_NEEDS[name]) and whole:
            probe = host.probe(BACKEND + name)
            yield name, Tried(_finding(name, probe, "see above; or take another backend"), probe)


def _finding(name: str, tried: Probe, remedy: str) -> Finding:
    if not tried.error:
        facts = ", ".join(f"{key} {value}" for key, value in tried.facts.items())
        return Finding(
            name=f"backend {name}",
            state="ok",
            found=f"computes a golden slice with the default bundle ({facts})",
        )
    if tried.error.startswith(_NO_ENGINE):
        return Finding(
            name=f"backend {name}", state="missing", found=tried.error, remedy="scanside build"
        )
    return Finding(name=f"backend {name}", state="problem", found=tried.error, remedy=remedy)
