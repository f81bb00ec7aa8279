"""ONNX Runtime and OpenVINO: installed once, whole, and able to compute a slice here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from scanside.doctor.host import Host
    from scanside.doctor.platforms import Platform
    from scanside.doctor.probe import Probe

__all__ = ["TELEMETRY", "backend_finding", "runtime_findings", "telemetry_finding"]

TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
"""What ONNX Runtime 1.29 and later read before they report to their maker."""

_OFF: Final = {"1", "true", "yes", "on", "y"}
_OLDEST: Final = (1, 20)
"""Of ONNX Runtime: the least that the extra `cpu` takes."""

_GPU_PROVIDERS: Final = {
    "ort-trt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}
_REINSTALL: Final = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install --no-cache-dir 'scanside[cpu]'"
)


def runtime_findings(
    host: Host, platform: Platform, backends: Collection[str]
) -> Iterator[tuple[Finding, Probe | None]]:
    """Yield what there is to say of each library, with what became of importing it.

    Parameters
    ----------
    host
        The machine.
    platform
        Its kind.
    backends
        Names of the backends that this version of scanside has.

    Yields
    ------
    tuple
        A finding, and the probe of its library, none where there was nothing to import.
    """
    tried = host.probe("onnxruntime") if host.located("onnxruntime") else None
    yield _onnxruntime(host, tried), tried
    yield _gpu_providers(platform, tried, backends), None
    tried = host.probe("openvino") if host.located("openvino") else None
    yield _openvino(host, tried), tried


def backend_finding(name: str, package: str, tried: Probe) -> Finding:
    """Say what became of a backend that was given a slice to compute.

    Parameters
    ----------
    name
        As in ``--backend``.
    package
        The package that it needs.
    tried
        How it went.
    """
    if not tried.error:
        facts = ", ".join(f"{key} {value}" for key, value in tried.facts.items())
        return Finding(
            name=f"backend {name}",
            state="ok",
            found=f"computes a golden slice with the default bundle ({facts})",
        )
    remedy = _REINSTALL if package == "onnxruntime" else f"pip uninstall -y {package}"
    return Finding(name=f"backend {name}", state="problem", found=tried.error, remedy=remedy)


def telemetry_finding(host: Host) -> Finding:
    """Say whether ONNX Runtime reports to its maker; scanside turns that off when imported."""
    value = host.environment.get(TELEMETRY, "")
    if value.strip().lower() in _OFF:
        found = f"off: {TELEMETRY}={value}; OpenVINO's package for it is kept from being imported"
        return Finding(name="telemetry", state="ok", found=found)
    return Finding(
        name="telemetry",
        state="problem",
        found=f"ONNX Runtime's is on: {TELEMETRY} is {value!r} in this environment",
        remedy=f"unset {TELEMETRY} (scanside then sets it to 1), or export {TELEMETRY}=1",
    )


def _onnxruntime(host: Host, tried: Probe | None) -> Finding:
    names = ("onnxruntime", "onnxruntime-gpu")
    installed = {name: held for name in names if (held := host.version(name)) is not None}
    listed = ", ".join(f"{name} {held}" for name, held in installed.items())
    if tried is None:
        if not installed:
            return Finding(
                name="onnxruntime",
                state="missing",
                found="not installed: the cpu backend needs it",
                remedy="pip install 'scanside[cpu]'",
            )
        found = f"pip knows of {listed}, and its files are gone"
        return Finding(name="onnxruntime", state="problem", found=found, remedy=_REINSTALL)
    if tried.error:
        found = f"{listed or 'installed'}, and can't be imported: {tried.error}"
        return Finding(name="onnxruntime", state="problem", found=found, remedy=_REINSTALL)
    if len(installed) > 1:
        found = f"{listed}: each writes over the other's files, and {tried.facts['version']} is"
        return Finding(
            name="onnxruntime",
            state="problem",
            found=f"{found} what is imported",
            remedy=_REINSTALL,
        )
    found = f"{tried.facts['version']}; providers {tried.facts['providers']}"
    if _version(tried.facts["version"]) < _OLDEST:
        accepted = ".".join(map(str, _OLDEST))
        return Finding(
            name="onnxruntime",
            state="problem",
            found=f"{found}; accepted: {accepted} and later",
            remedy="pip install --upgrade 'scanside[cpu]'",
        )
    return Finding(name="onnxruntime", state="ok", found=found)


def _gpu_providers(platform: Platform, tried: Probe | None, backends: Collection[str]) -> Finding:
    name = "gpu providers"
    listed = [] if tried is None else tried.facts.get("providers", "").split(", ")
    here = [provider for provider in _GPU_PROVIDERS.values() if provider in listed]
    wanted = [p for backend, p in _GPU_PROVIDERS.items() if backend in backends]
    if here:
        found = f"{', '.join(here)}: in the package; whether their libraries load was not tried"
        return Finding(name=name, state="ok", found=found)
    if platform.kind == "cpu":
        return Finding(name=name, state="absent-by-design", found="no NVIDIA GPU: not needed")
    if wanted:
        return Finding(
            name=name,
            state="missing",
            found=f"none of {', '.join(wanted)}",
            remedy="in an environment of its own (onnxruntime and onnxruntime-gpu exclude each"
            " other): pip install 'scanside[gpu]'",
        )
    found = "none; no backend of this version uses them"
    return Finding(name=name, state="absent-by-design", found=found)


def _openvino(host: Host, tried: Probe | None) -> Finding:
    version = host.version("openvino")
    if tried is None and version is None:
        found = "not installed: a second backend for the CPU, that nothing needs"
        if host.architecture != "x86_64":
            return Finding(name="openvino", state="absent-by-design", found=found)
        remedy = "to let --backend auto choose the faster: pip install 'scanside[openvino]'"
        return Finding(name="openvino", state="absent-by-design", found=found, remedy=remedy)
    if tried is not None and not tried.error:
        found = f"{tried.facts['version']}; devices {tried.facts['devices']}"
        return Finding(name="openvino", state="ok", found=found)
    why = "its files are gone" if tried is None else f"can't be imported: {tried.error}"
    return Finding(
        name="openvino",
        state="problem",
        found=f"{version or 'installed'}, and {why}",
        remedy="pip install --force-reinstall 'scanside[openvino]', or pip uninstall -y openvino",
    )


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())
